"""A WireGuard tunnel between a protected machine and its master target, for what does not encrypt by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from lab.bench.mirror import End, Mirror
from lab.errors import LabError

INTERFACE = "lab-bench"
PORT = 51871
INSIDE = ("10.255.255.1", "10.255.255.2")
KEY = "/run/lab-bench-wireguard.key"
MAKE_KEY = f"umask 077; wg genkey >{KEY} && wg pubkey <{KEY}"


@contextmanager
def tunnelled(mirror: Mirror) -> Iterator[Mirror]:
    """Yield the same mirror, whose traffic goes through a tunnel that is there inside the block. Raises LabError."""
    try:
        keys = [end.ssh.check("sh", "-c", MAKE_KEY).strip() for end in mirror.ends]
        for mine, other in ((0, 1), (1, 0)):
            _raise(mirror.ends[mine], INSIDE[mine], mirror.ends[other], INSIDE[other], keys[other])
        source, target = (replace(end, address=inside) for end, inside in zip(mirror.ends, INSIDE, strict=True))
        yield replace(mirror, source=source, target=target)
    finally:
        for end in mirror.ends:
            with suppress(LabError, TimeoutError):
                end.ssh.run("ip", "link", "delete", INTERFACE)
                end.ssh.run("rm", "-f", KEY)


def _raise(end: End, inside: str, other: End, other_inside: str, other_key: str) -> None:
    ssh = end.ssh
    ssh.check("ip", "link", "add", INTERFACE, "type", "wireguard")
    peer = ("peer", other_key, "endpoint", f"{other.address}:{PORT}", "allowed-ips", f"{other_inside}/32")
    ssh.check("wg", "set", INTERFACE, "private-key", KEY, "listen-port", str(PORT), *peer)
    ssh.check("ip", "address", "add", f"{inside}/30", "dev", INTERFACE)
    ssh.check("ip", "link", "set", INTERFACE, "up")
