"""Peers of initial replication that go over SSH: ``dd | zstd | ssh``, and rsync from one device to another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from lab.machines.ssh import SshTransport

FOLDER = "/run/lab-bench"
AUTHORISED = "/root/.ssh/authorized_keys"
SECONDS = 1800.0
CONFIG = """Host target
  HostName {address}
  User root
  IdentityFile {folder}/key
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking yes
  IdentitiesOnly yes
  BatchMode yes
  ConnectTimeout 20
"""
DD = """set -euo pipefail
dd if="$2" bs=1M iflag=direct status=none | zstd -1 -q -c | ssh -F "$1/config" target \\
  "zstd -d -q -c | dd of='$3' bs=1M iflag=fullblock oflag=direct conv=fsync,notrunc status=none"
"""
RSYNC = """set -euo pipefail
exec rsync -e "ssh -F $1/config" --copy-devices --write-devices --whole-file --ignore-times --fsync \\
  --compress --compress-choice=zstd --compress-level=1 "$2" "target:$3"
"""
"""A whole device: to look for differences rsync would have to read both sides first.

A link is no device to rsync: it leaves one out, and puts a file in the place of the other.
"""
SCRIPTS: Mapping[str, str] = {"dd": DD, "rsync": RSYNC}


def seconds_over_ssh(peer: str, source: SshTransport, from_device: str, to_device: str) -> float:
    """Return how long a peer takes for a whole device; a key has to be lent. Raises CommandFailed."""
    begin = time.monotonic()
    source.check("bash", "-c", SCRIPTS[peer], "bash", FOLDER, from_device, to_device, seconds=SECONDS)
    return time.monotonic() - begin


@contextmanager
def lent_key(source: SshTransport, target: SshTransport, address: str) -> Iterator[None]:
    """Let ``source`` log in to ``target`` inside the block, with a key that neither of them keeps."""
    before = target.get(AUTHORISED)
    try:
        source.check("rm", "-rf", FOLDER)
        source.check("install", "-d", "-m", "700", FOLDER)
        source.check("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab-bench", "-f", f"{FOLDER}/key")
        source.put(CONFIG.format(address=address, folder=FOLDER).encode(), f"{FOLDER}/config", mode=0o600)
        source.put(f"{address} {target.login.host_key}\n".encode(), f"{FOLDER}/known_hosts", mode=0o600)
        target.put(before.rstrip(b"\n") + b"\n" + source.get(f"{FOLDER}/key.pub"), AUTHORISED, mode=0o600)
        yield
    finally:
        target.put(before, AUTHORISED, mode=0o600)
        source.run("rm", "-rf", FOLDER)
