"""The command with which a person logs in to a machine of a lab."""

from __future__ import annotations

from collections.abc import Sequence

from lab.errors import LabError
from lab.hypervisors.model import Endpoint
from lab.hypervisors.protocols import HypervisorError
from lab.provision.home import Home
from lab.provision.state import LabState, LentAccess, PhysicalAccess, load_state
from lab.provision.up import open_hypervisor

SUFFIXES = ("-replica", "-test", "-failback")


def ssh_command(home: Home, lab: str, machine: str, command: Sequence[str]) -> list[str]:
    """Return the arguments of ``ssh`` for a machine, host key checked. Raises LabError when there is none."""
    folder = home.lab(lab)
    state = load_state(folder)
    if state is None:
        raise LabError(f"there is no lab {lab}", hint="lab up FILE")
    endpoint = _endpoint(state, home, machine)
    known_hosts = folder.login_key.parent / f"known-{machine}"
    known_hosts.write_text(
        f"[{endpoint.host}]:{endpoint.port} {state.host_keys[origin_of(machine)]}\n", encoding="ascii"
    )
    options = [f"UserKnownHostsFile={known_hosts}", "StrictHostKeyChecking=yes", "IdentitiesOnly=yes"]
    flags = [word for option in options for word in ("-o", option)]
    login = ["ssh", "-i", str(folder.login_key), "-p", str(endpoint.port), *flags, f"root@{endpoint.host}"]
    return [*login, "--", *command] if command else login


def _endpoint(state: LabState, home: Home, machine: str) -> Endpoint:
    elsewhere: dict[str, PhysicalAccess | LentAccess] = {**state.physical, **state.lent}
    access = elsewhere.get(machine)
    if access is not None:
        return Endpoint(access.ssh_host, access.ssh_port)
    hypervisor = open_hypervisor(state, home)
    try:
        return hypervisor.endpoint(machine)
    except HypervisorError as error:
        known = ", ".join(sorted([item.name for item in hypervisor.machines()] + list(elsewhere)))
        raise LabError(f"{error}; machines of {state.lab}: {known}") from error
    finally:
        hypervisor.close()


def origin_of(machine: str) -> str:
    """Return the machine whose disks a replica, a test copy or what came back has, and whose host key it shows."""
    for suffix in SUFFIXES:
        machine = machine.removesuffix(suffix)
    return machine
