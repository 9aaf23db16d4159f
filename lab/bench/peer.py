"""The peer of initial replication: ``dd | zstd | ssh`` from the protected machine straight to the master target."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from lab.machines.ssh import SshTransport

FOLDER = "/run/lab-bench"
AUTHORISED = "/root/.ssh/authorized_keys"
PIPELINE_SECONDS = 1800.0
PIPELINE = """set -euo pipefail
folder=$1 target=$2; shift 2
for device in "$@"; do dd if="$device" bs=1M iflag=direct status=none; done \\
  | zstd -1 -q -c \\
  | ssh -i "$folder/key" -o UserKnownHostsFile="$folder/known_hosts" -o StrictHostKeyChecking=yes \\
      -o IdentitiesOnly=yes -o BatchMode=yes -o ConnectTimeout=20 "root@$target" 'zstd -d -q -c > /dev/null'
"""


def piped_seconds(source: SshTransport, address: str, devices: Sequence[str]) -> float:
    """Return how long the pipeline takes for whole devices; a key has to be lent. Raises CommandFailed."""
    begin = time.monotonic()
    source.check("bash", "-c", PIPELINE, "bash", FOLDER, address, *devices, seconds=PIPELINE_SECONDS)
    return time.monotonic() - begin


@contextmanager
def lent_key(source: SshTransport, target: SshTransport, address: str) -> Iterator[None]:
    """Let ``source`` log in to ``target`` inside the block, with a key that neither of them keeps."""
    before = target.get(AUTHORISED)
    try:
        source.check("rm", "-rf", FOLDER)
        source.check("install", "-d", "-m", "700", FOLDER)
        source.check("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab-bench", "-f", f"{FOLDER}/key")
        source.put(f"{address} {target.login.host_key}\n".encode(), f"{FOLDER}/known_hosts", mode=0o600)
        target.put(before.rstrip(b"\n") + b"\n" + source.get(f"{FOLDER}/key.pub"), AUTHORISED, mode=0o600)
        yield
    finally:
        target.put(before, AUTHORISED, mode=0o600)
        source.run("rm", "-rf", FOLDER)
