"""Peers of initial replication that go over SSH: ``dd | zstd | ssh``, that through the process server, and rsync."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise

from lab.bench.replication_rows import RELAYED
from lab.machines.ssh import SshTransport
from lab.provision.lab import Lab
from lab.stacks.addresses import address_towards

FOLDER = "/run/lab-bench"
AUTHORISED = "/root/.ssh/authorized_keys"
SECONDS = 1800.0
CONFIG = """Host next
  HostName {address}
  User root
  IdentityFile {folder}/key
  UserKnownHostsFile {folder}/known_hosts
  StrictHostKeyChecking yes
  IdentitiesOnly yes
  BatchMode yes
  ConnectTimeout 20
"""
_READ = 'dd if="$2" bs=1M iflag=direct status=none'
_COMPRESS = "zstd -1 -q -c"
_WRITE = "zstd -d -q -c | dd of='$3' bs=1M iflag=fullblock oflag=direct conv=fsync,notrunc status=none"
DD = f"""set -euo pipefail
{_READ} | {_COMPRESS} | ssh -F "$1/config" next "{_WRITE}"
"""
RELAY = f"""set -euo pipefail
{_READ} | ssh -F "$1/config" next \\
  "set -o pipefail; {_COMPRESS} | ssh -F '$1/config' next \\"{_WRITE}\\""
"""
"""Every byte goes the way of the stack's: decrypted, compressed and encrypted again by the process server."""
RSYNC = """set -euo pipefail
exec rsync -e "ssh -F $1/config" --copy-devices --write-devices --whole-file --ignore-times --fsync \\
  --compress --compress-choice=zstd --compress-level=1 "$2" "next:$3"
"""
"""A whole device: to look for differences rsync would have to read both sides first.

A link is no device to rsync: it leaves one out, and puts a file in the place of the other.
"""
SCRIPTS: Mapping[str, str] = {"dd": DD, RELAYED: RELAY, "rsync": RSYNC}


@dataclass(frozen=True)
class Hop:
    """One login on the way of a copy: ``source`` calls ``target`` at ``address``."""

    source: SshTransport
    target: SshTransport
    address: str


def hops(lab: Lab, name: str, peer: str) -> list[Hop]:
    """Return the logins by which a peer gets from a protected machine to its master target. Raises BadInput."""
    topology = lab.topology
    between = [topology.stack.protect[name].process_server] if peer == RELAYED else []
    way = [name, *between, topology.master_target_of(name)]
    return [
        Hop(lab.machine(one).ssh, lab.machine(other).ssh, _address(lab, one, other)) for one, other in pairwise(way)
    ]


def seconds_over_ssh(peer: str, source: SshTransport, from_device: str, to_device: str) -> float:
    """Return how long a peer takes for a whole device; keys have to be lent. Raises CommandFailed."""
    begin = time.monotonic()
    source.check("bash", "-c", SCRIPTS[peer], "bash", FOLDER, from_device, to_device, seconds=SECONDS)
    return time.monotonic() - begin


@contextmanager
def lent_keys(way: Sequence[Hop]) -> Iterator[None]:
    """Let each machine of a way log in to the next one inside the block, with keys that none of them keeps."""
    with ExitStack() as lent:
        for hop in way:
            _lend(hop, lent)
        yield


def _lend(hop: Hop, lent: ExitStack) -> None:
    source, target, address = hop.source, hop.target, hop.address
    before = target.get(AUTHORISED)
    # Each by itself: what cannot be taken back from one machine has to be from the others.
    lent.callback(source.run, "rm", "-rf", FOLDER)
    lent.callback(target.put, before, AUTHORISED, mode=0o600)
    source.check("rm", "-rf", FOLDER)
    source.check("install", "-d", "-m", "700", FOLDER)
    source.check("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "lab-bench", "-f", f"{FOLDER}/key")
    source.put(CONFIG.format(address=address, folder=FOLDER).encode(), f"{FOLDER}/config", mode=0o600)
    source.put(f"{address} {target.login.host_key}\n".encode(), f"{FOLDER}/known_hosts", mode=0o600)
    target.put(before.rstrip(b"\n") + b"\n" + source.get(f"{FOLDER}/key.pub"), AUTHORISED, mode=0o600)


def _address(lab: Lab, caller: str, server: str) -> str:
    return address_towards(lab.topology, lab.topology.machines[caller].interfaces, server)
