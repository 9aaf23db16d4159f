"""Which hosts, and which machines on them, are replicated (seed L39, L40): asked of the hosts when it begins."""

from __future__ import annotations

from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.host_calls import HostCalls
from lab.replication.configuration_server.machines import Machine
from lab.replication.configuration_server.settings import HostSettings, Server
from lab.replication.support.facts import UNKNOWN
from lab.replication.support.matrix import HYPER_V_GUEST, HYPER_V_HOST, UNSUPPORTED_SYSTEM, Matrix, load_matrix

MISSING = "missing"


def refusal_of_guest(host: HostSettings, target: Matrix) -> str | None:
    """Return why what the operator says of a guest is not supported by Hyper-V and the target, or None. Pure."""
    if host.system is None:
        return None
    refusals = (matrix.refusal_of_guest_system(*host.system) for matrix in (load_matrix(HYPER_V_GUEST), target))
    return next((refusal for refusal in refusals if refusal is not None), None)


async def require_host(calls: HostCalls, server: Server) -> None:
    """Require that a host is one of the matrix. Raises JobError."""
    problem = load_matrix(HYPER_V_HOST).refusal_of(await calls.describe_host(server))
    if problem is not None:
        raise JobError(UNSUPPORTED_SYSTEM, f"host {server.name}: {problem}")


async def require_guest(calls: HostCalls, machine: Machine, host: HostSettings, target: Matrix) -> None:
    """Require that a host has the machine, with hardware that both sides support. Raises JobError."""
    guest = host.guest or machine.name
    found = await calls.describe(host.source, guest)
    if found.get("state") == MISSING:
        raise JobError("machine-missing", f"host {host.source.name} has no machine {guest}")
    hardware = (str(found.get("architecture", UNKNOWN)), str(found.get("firmware", UNKNOWN)))
    for matrix in (load_matrix(HYPER_V_GUEST), target):
        problem = matrix.refusal_of_hardware(*hardware)
        if problem is not None:
            raise JobError(UNSUPPORTED_SYSTEM, f"{machine.name}: {problem}")
