"""Digests and speeds of whole disks, taken inside the machine that has them, past its page cache."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from lab.machines.ssh import SshTransport
from lab.measure import chunk_digests

DIGEST_SECONDS = 600.0
TOOL = "/usr/local/lib/lab-chunk-digests.py"
_DEVICE = 'for b in /sys/block/*; do [ "$(cat $b/serial 2>/dev/null)" = "$1" ] && echo /dev/${b##*/}; done; true'


@dataclass(frozen=True)
class DiskDigest:
    """SHA-256 of every MiB of a disk, in hexadecimal digits."""

    chunks: tuple[str, ...]

    @property
    def root(self) -> str:
        """One digest for all: SHA-256 over the digests of the chunks."""
        return hashlib.sha256("\n".join(self.chunks).encode("ascii")).hexdigest()

    def differing(self, other: DiskDigest) -> list[int]:
        """Return the numbers of the MiB in which two disks differ; what only one of them has differs."""
        pairs = enumerate(zip_longest(self.chunks, other.chunks))
        return [number for number, (mine, theirs) in pairs if mine != theirs]


def device_by_serial(ssh: SshTransport, serial: str) -> str:
    """Return the device with this serial number. Raises LookupError when there is not exactly one."""
    found = ssh.check("sh", "-c", _DEVICE, "sh", serial).split()
    if len(found) != 1:
        raise LookupError(f"{ssh.machine} has {len(found)} disks with the serial {serial!r}")
    return found[0]


def send_digest_tool(ssh: SshTransport) -> None:
    """Copy the tool to a machine; before the machine's disks are held, since its file goes to one of them."""
    ssh.put(Path(chunk_digests.__file__).read_bytes(), TOOL, mode=0o644)


def digest(ssh: SshTransport, device: str) -> DiskDigest:
    """Return the digests of a whole device. The tool has to be there. Raises CommandFailed, DeadlineExceeded."""
    return DiskDigest(tuple(ssh.check("python3", "-B", TOOL, device, seconds=DIGEST_SECONDS).split()))
