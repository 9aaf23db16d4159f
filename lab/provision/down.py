"""Taking a lab down, whole or half made: every object is found by the lab's tag, not by what we remember."""

from __future__ import annotations

import shutil
from pathlib import Path

from lab.errors import LabError
from lab.hypervisors.libvirt import connect
from lab.hypervisors.protocols import HypervisorError
from lab.provision import esxi, hyperv, processes
from lab.provision.bmc import give_back
from lab.provision.board import Board
from lab.provision.home import Home, LabFolder
from lab.provision.lent import give_back_lent
from lab.provision.stand_in import remove_stand_ins, store_of
from lab.provision.state import LabState, load_state

LEASE_KEEPER = "lease-keeper"
"""How the names of the processes begin that keep leases."""
DEFAULT_URIS = ("qemu:///system",)


def tear_down(home: Home, name: str, board: Board, *, reports: Path | None = None) -> list[str]:
    """Remove everything of a lab and return what there was. Works after SIGKILL and repeats without harm.

    What is not as it was found on lent machines goes to ``reports``, or to the folder ``drift`` of the home.

    Raises:
        LabError: something could not be removed; the message says what.
    """
    folder = home.lab(name)
    board.step(name, "removing")
    failures: list[str] = []
    # Who renews a lease while it is given back makes that fail.
    removed = processes.end_all(folder, LEASE_KEEPER)
    removed += _give_back(folder, failures)
    removed += _give_back_lent(folder, failures, reports or home.folder / "drift" / name, board)
    if failures and _lent(folder):
        # Without its servers and its keys nobody could give the machine back later.
        raise LabError(f"lab {name} stays: {'; '.join(failures)}", hint=f"lab down {name}, once that is cured")
    removed += processes.end_all(folder)
    for remove in (_remove_esxi, _remove_hyperv, _remove_bare):
        try:
            removed += remove(folder, home)
        except (HypervisorError, LabError) as error:
            failures.append(str(error))
    for uri in _uris(folder):
        try:
            hypervisor = connect(uri, name, home.labs, "tcg")
            removed += hypervisor.remove_all()
            hypervisor.close()
        except HypervisorError as error:
            failures.append(str(error))
    if failures:
        raise LabError(
            f"lab {name} is not all gone: {'; '.join(failures)}", hint=f"lab down {name}, once that is cured"
        )
    shutil.rmtree(folder.path, ignore_errors=True)
    board.step(name, "removed")
    return removed


def _give_back(folder: LabFolder, failures: list[str]) -> list[str]:
    """Give physical machines back, as long as their BMCs and who keeps their leases are there."""
    state = _state(folder)
    try:
        return give_back(state) if state is not None else []
    except LabError as error:
        failures.append(str(error))
        return []


def _give_back_lent(folder: LabFolder, failures: list[str], reports: Path, board: Board) -> list[str]:
    """Give lent machines back as they were."""
    state = _state(folder)
    try:
        return give_back_lent(folder, state, reports, board) if state is not None else []
    except LabError as error:
        failures.append(str(error))
        return []


def _lent(folder: LabFolder) -> bool:
    state = _state(folder)
    return state is not None and bool(state.lent)


def _remove_bare(folder: LabFolder, home: Home) -> list[str]:  # noqa: ARG001 - as its siblings
    """Remove the virtual machines that stood in for physical ones, also those that the state does not know yet."""
    removed: list[str] = []
    if store_of(folder).is_dir():
        for uri in _uris(folder):
            removed += remove_stand_ins(folder, uri)
    return removed


def _remove_esxi(folder: LabFolder, home: Home) -> list[str]:
    """Remove the lab's objects on its ESXi host. With an emulated host that is all that the host has."""
    state = _state(folder)
    if state is None or state.esxi is None or state.esxi.emulated:
        return esxi.remove_emulated(folder)
    host = esxi.open_esxi(state.esxi, folder.name, home.labs)
    try:
        return host.remove_all()
    finally:
        host.close()


def _remove_hyperv(folder: LabFolder, home: Home) -> list[str]:
    """Remove the lab's objects on its Hyper-V host. With an emulated host its machines are domains of the lab."""
    state = _state(folder)
    if state is None or state.hyperv is None or state.hyperv.emulated:
        uri = state.hyperv.uri if state is not None and state.hyperv is not None else DEFAULT_URIS[0]
        return hyperv.remove_emulated(folder, uri, home.labs)
    host = hyperv.open_hyperv(state.hyperv, folder.name, home.labs)
    try:
        return host.remove_all()
    finally:
        host.close()


def _state(folder: LabFolder) -> LabState | None:
    try:
        return load_state(folder)
    except LabError:
        return None


def _uris(folder: LabFolder) -> tuple[str, ...]:
    state = _state(folder)
    return state.host_uris if state is not None else DEFAULT_URIS
