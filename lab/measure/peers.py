"""Asking from inside a machine how a server treats it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lab.machines.ssh import SshTransport
from lab.measure import peer_probe

TOOL = "/run/lab-peer-probe.py"


@dataclass(frozen=True)
class Answer:
    """What a caller got: TCP, then TLS, then HTTP; None where it did not come that far."""

    tcp: bool
    tls: str | None
    cipher: str | None
    http: int | None
    error: str | None

    @property
    def refused(self) -> bool:
        """Whether the server gave nothing: no connection, no handshake, or a refusal by status."""
        return self.http is None or self.http in {401, 403}


def call(
    ssh: SshTransport,
    address: str,
    port: int,
    *,
    path: str = "/",
    identity: str | None = None,
    ca: str | None = None,
    source: str | None = None,
    plain: bool = False,
) -> Answer:
    """Call ``address:port`` from a machine, with the identity folder and CA file of that machine if given.

    ``source``: the address of that machine from which it calls.
    """
    ssh.put(Path(peer_probe.__file__).read_bytes(), TOOL)
    options = [*(["--identity", identity] if identity else []), *(["--ca", ca] if ca else [])]
    flags = [*(["--source", source] if source else []), *(["--plain"] if plain else [])]
    found = ssh.check("python3", TOOL, address, str(port), "--path", path, *options, *flags)
    return Answer(**json.loads(found))
