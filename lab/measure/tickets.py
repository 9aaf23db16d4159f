"""Asking from inside a machine how a host treats a Kerberos ticket."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from lab.machines.ssh import SshTransport
from lab.measure import ticket_probe

TOOL = "/run/lab-ticket-probe.py"


@dataclass(frozen=True)
class Caller:
    """Who calls: a principal, and the file with its keys."""

    principal: str
    keytab: str


@dataclass(frozen=True)
class TicketAnswer:
    """What a caller got: for its ticket, then for its request; None where it did not come that far."""

    introduction: int | None
    http: int | None
    error: str | None


def present(
    ssh: SshTransport,
    place: tuple[str, int],
    caller: Caller,
    service: str,
    *,
    path: str,
    ca: str,
    elsewhere: bool = False,
) -> TicketAnswer:
    """Call a host from a machine with a ticket for ``service``; ``elsewhere``: bound to another connection."""
    ssh.put(Path(ticket_probe.__file__).read_bytes(), TOOL)
    who = ("--principal", caller.principal, "--keytab", caller.keytab, "--service", service)
    more = ("--elsewhere",) if elsewhere else ()
    address, port = place
    return TicketAnswer(
        **json.loads(ssh.check("python3", TOOL, address, str(port), "--path", path, "--ca", ca, *who, *more))
    )
