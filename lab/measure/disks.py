"""Digests and speeds of whole disks, taken inside the machine that has them, past its page cache."""

from __future__ import annotations

from lab.machines.ssh import SshTransport

DIGEST_SECONDS = 600.0
_DEVICE = 'for b in /sys/block/*; do [ "$(cat $b/serial 2>/dev/null)" = "$1" ] && echo /dev/${b##*/}; done; true'
_DIGEST = 'set -o pipefail; dd if="$1" bs=1M iflag=direct status=none | sha256sum'


def device_by_serial(ssh: SshTransport, serial: str) -> str:
    """Return the device with this serial number. Raises LookupError when there is not exactly one."""
    found = ssh.check("sh", "-c", _DEVICE, "sh", serial).split()
    if len(found) != 1:
        raise LookupError(f"{ssh.machine} has {len(found)} disks with the serial {serial!r}")
    return found[0]


def digest(ssh: SshTransport, device: str) -> str:
    """Return the SHA-256 of a whole device, in hexadecimal digits."""
    return ssh.check("bash", "-c", _DIGEST, "bash", device, seconds=DIGEST_SECONDS).split()[0]
