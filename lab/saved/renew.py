"""A lab that goes on from a saved one of another build of the stack, with this build installed over it."""

from __future__ import annotations

from collections.abc import Callable

from lab.errors import LabError
from lab.provision.board import Board
from lab.provision.home import Home
from lab.provision.lab import Lab
from lab.provision.state import save_state
from lab.provision.up import bring_up, refuse_or_reap
from lab.saved.inputs import differing, why_not
from lab.saved.ready import from_saved, present_inputs
from lab.saved.store import SavedLabs
from lab.stacks.adapters import adapter_of, refuse_unserved
from lab.topology.model import Topology

STACK = "stack"
"""The input that says which build of the stack a saved lab has."""


def make_renewed(topology: Topology, home: Home, name: str, board: Board) -> Lab:
    """Return a lab that goes on from a saved one which differs in nothing but its stack, and has this build of it.

    Without such a saved lab it is booted; nothing is saved in either case.

    Raises:
        LabError: the lab is up already, a machine never booted, or the build cannot be installed over the other one.
    """
    refuse_unserved(topology)
    renew = adapter_of(topology).reinstall
    reason = why_not(topology) or (None if renew else f"the adapter {topology.stack.adapter} cannot renew its stack")
    if reason is not None or renew is None:
        board.step(name, f"booting: {reason}")
        return bring_up(topology, home, name, board)
    refuse_or_reap(home, home.lab(name), board)
    inputs = present_inputs(topology, home, board)
    for entry in SavedLabs(home.saved).all():
        if set(differing(entry.saved.inputs, inputs)) <= {STACK}:
            lab = from_saved(topology, home, name, entry.saved.key, board)
            if lab is not None:
                if entry.saved.inputs[STACK] != inputs[STACK]:
                    _renew(lab, renew, entry.saved.inputs[STACK], board)
                return lab
    board.step(name, "booting: there is no saved lab that differs in its stack only")
    return bring_up(topology, home, name, board)


def _renew(lab: Lab, renew: Callable[[Lab, Board], None], saved_build: str, board: Board) -> None:
    if lab.state.went_on is None:
        return
    try:
        renew(lab, board)
    except (LabError, TimeoutError):
        lab.close()
        raise
    lab.state = lab.state.model_copy(update={"went_on": lab.state.went_on.model_copy(update={"renewed": saved_build})})
    save_state(lab.folder, lab.state)
