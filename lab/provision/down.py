"""Taking a lab down, whole or half made: every object is found by the lab's tag, not by what we remember."""

from __future__ import annotations

import shutil

from lab.errors import LabError
from lab.hypervisors.libvirt import connect
from lab.hypervisors.protocols import HypervisorError
from lab.provision import processes
from lab.provision.board import Board
from lab.provision.esxi import open_esxi, remove_emulated
from lab.provision.home import Home, LabFolder
from lab.provision.state import LabState, load_state

DEFAULT_URIS = ("qemu:///system",)


def tear_down(home: Home, name: str, board: Board) -> list[str]:
    """Remove everything of a lab and return what there was. Works after SIGKILL and repeats without harm.

    Raises:
        LabError: something could not be removed; the message says what.
    """
    folder = home.lab(name)
    board.step(name, "removing")
    removed = processes.end_all(folder)
    failures: list[str] = []
    try:
        removed += _remove_esxi(folder, home)
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


def _remove_esxi(folder: LabFolder, home: Home) -> list[str]:
    """Remove the lab's objects on its ESXi host. With an emulated host that is all that the host has."""
    try:
        state = load_state(folder)
    except LabError:
        state = None
    if state is None or state.esxi is None or state.esxi.emulated:
        return remove_emulated(folder)
    host = open_esxi(state.esxi, folder.name, home.labs)
    try:
        return host.remove_all()
    finally:
        host.close()


def _uris(folder: LabFolder) -> tuple[str, ...]:
    try:
        state: LabState | None = load_state(folder)
    except LabError:
        state = None
    return state.host_uris if state is not None else DEFAULT_URIS
