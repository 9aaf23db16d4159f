"""A lab by the shortest way: from a saved one if there is one that fits, else booted and saved once it is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from lab.errors import BadInput, LabError
from lab.hypervisors.protocols import HypervisorError
from lab.provision.board import Board
from lab.provision.down import tear_down
from lab.provision.home import Home
from lab.provision.images import cached_images, provide_images
from lab.provision.lab import Lab
from lab.provision.state import load_state, save_state
from lab.provision.up import acceleration_of, bring_up, refuse_or_reap
from lab.saved.go_on import go_on, prepare
from lab.saved.inputs import differing, inputs_of, key_of, why_not
from lab.saved.store import Entry, SavedLabs
from lab.saved.take import take
from lab.stacks.adapters import deployed, refuse_unserved
from lab.stacks.protocol import Stack
from lab.topology.load import load_topology
from lab.topology.machines import Role
from lab.topology.model import Topology
from lab.waiting import Deadline, wait_until

LIMIT_VARIABLE = "RECOVERY_LAB_SAVED_GIB"
LIMIT_GIB = 20.0
QUIET_SECONDS = 120.0
SERVERS = (Role.PROCESS_SERVER, Role.MASTER_TARGET)


def make_ready(topology: Topology, home: Home, name: str, board: Board, *, fresh: bool) -> Lab:
    """Return a lab whose machines let us log in: one that goes on from a saved one if there is one of the same inputs.

    ``fresh``: boot it in any case, and do not save it. A saved lab that does not go on is removed, and the lab booted.

    Raises:
        LabError: the lab is up already, an image did not build, a machine never booted.
        BadInput: a setting is wrong, or the topology's stack cannot serve it.
    """
    refuse_unserved(topology)
    reason = "that was asked for" if fresh else why_not(topology)
    if reason is not None:
        board.step(name, f"booting, and not to be saved: {reason}")
        return bring_up(topology, home, name, board)
    limit_bytes()
    refuse_or_reap(home, home.lab(name), board)
    inputs = present_inputs(topology, home, board)
    key = key_of(inputs)
    lab = from_saved(topology, home, name, key, board)
    return lab if lab is not None else bring_up(topology, home, name, board, save_as=key)


@contextmanager
def deployed_and_saved(lab: Lab, home: Home, board: Board) -> Iterator[Stack]:
    """Yield the stack on a lab; one that was to be saved is saved as soon as its stack is installed and quiet.

    A lab that cannot be saved runs on, and the board says why. Raises LabError when the stack cannot be installed.
    """
    key = lab.state.save_as
    if key:
        # First: whatever happens from here on, what is on the machines later may not be what this key promises.
        lab.state = lab.state.model_copy(update={"save_as": ""})
        save_state(lab.folder, lab.state)
        with deployed(lab, board) as stack:
            wait_quiet(stack, lab.topology)
        try:
            save(lab, home, key, board)
        except LabError as error:
            board.step("saved lab", f"none: {error}")
    with deployed(lab, board) as stack:
        yield stack


def save_new(lab: Lab, home: Home, board: Board) -> str:
    """Install the stack on a lab that was just made, save it, and return the key.

    Raises:
        LabError: it is not a lab to be saved, or its stack was installed before; nothing was done then.
    """
    key = lab.state.save_as
    if not key:
        reason = why_not(lab.topology) or "its stack was installed before, or it was made with --fresh"
        raise LabError(f"lab {lab.folder.name} cannot be saved: {reason}", hint="lab down, lab up")
    with deployed_and_saved(lab, home, board):
        pass
    if SavedLabs(home.saved).lookup(key) is None:
        raise LabError(f"lab {lab.folder.name} was not saved", hint="the lines above say why")
    return key


def why_stale(entry: Entry, home: Home) -> str | None:
    """Return what differs from when a lab was saved, or None: somebody can go on from it. Builds no image."""
    try:
        topology = load_topology(entry.saved.topology)
        images = cached_images(topology, home)
        if images is None:
            return "images are not cached any more"
        present = inputs_of(topology, home, images, entry.saved.acceleration)
    except LabError as error:
        return str(error)
    names = differing(entry.saved.inputs, present)
    return f"{', '.join(names)} changed" if names else None


def save(lab: Lab, home: Home, key: str, board: Board) -> None:
    """Save a lab whose stack was just installed, under a key. Raises LabError."""
    inputs = present_inputs(lab.topology, home, board)
    if key_of(inputs) != key:
        raise LabError("something that the lab depends on was changed while it was made", hint="lab up, once more")
    store = SavedLabs(home.saved)
    try:
        take(lab, store, key, inputs, board)
    except (HypervisorError, TimeoutError, OSError) as error:
        raise LabError(f"lab {lab.folder.name} could not be saved: {error}") from error
    for gone in store.bound(limit_bytes(), used_keys(home), keep=key):
        board.step("saved lab", f"removed {gone}, the least recently used: {LIMIT_VARIABLE} bounds them")


def wait_quiet(stack: Stack, topology: Topology) -> None:
    """Wait until every server has registered and no job runs. Raises DeadlineExceeded."""
    expected = {f"{role.value}-{name}" for role in SERVERS for name in topology.machines_with(role)}

    def quiet() -> bool:
        present = {component.id for component in stack.components()}
        return expected <= present and all(machine.job is None for machine in stack.machines())

    wait_until(quiet, Deadline.after(QUIET_SECONDS), "quiet stack", every=1.0)


def present_inputs(topology: Topology, home: Home, board: Board) -> dict[str, str]:
    """Return what a saved lab of this topology would depend on now. Raises LabError."""
    images = provide_images(topology, home, board)
    return inputs_of(topology, home, images, acceleration_of(home, images))


def used_keys(home: Home) -> set[str]:
    """Return the keys of saved labs that a lab on this computer stands on."""
    found = set()
    for name in home.lab_names():
        # A lab whose state is damaged is about to be taken down, and cannot say what it stands on.
        with suppress(LabError):
            state = load_state(home.lab(name))
            if state is not None and state.went_on is not None:
                found.add(state.went_on.key)
    return found


def limit_bytes() -> int:
    """Return how much all saved labs may take. Raises BadInput for a setting that is no number."""
    text = os.environ.get(LIMIT_VARIABLE, str(LIMIT_GIB))
    try:
        limit = float(text)
    except ValueError as error:
        raise BadInput(f"{LIMIT_VARIABLE}={text!r}: expected a number of GiB, such as {LIMIT_GIB:g}") from error
    if not 0 <= limit < float("inf"):
        raise BadInput(f"{LIMIT_VARIABLE}={text!r}: expected a number of GiB that is not negative")
    return int(limit * (1 << 30))


def from_saved(topology: Topology, home: Home, name: str, key: str, board: Board) -> Lab | None:
    """Return a lab that goes on from the saved one of a key; None when there is none, or it was of no use."""
    store = SavedLabs(home.saved)
    with store.locked():
        entry = store.lookup(key)
        problem = _problem(entry)
        lab = prepare(topology, home, name, entry) if entry is not None and problem is None else None
    if entry is None:
        return None
    if lab is None:
        board.step("saved lab", f"{key} is of no use: {problem}")
        _forget(store, entry, home)
        return None
    board.step("saved lab", f"going on from {key}")
    try:
        go_on(lab, entry, board)
    except (LabError, HypervisorError, TimeoutError) as error:
        lab.close()
        board.step("saved lab", f"{error}; booting instead")
        tear_down(home, name, board)
        _forget(store, entry, home)
        return None
    return lab


def _problem(entry: Entry | None) -> str | None:
    if entry is None:
        return None
    damaged = entry.damage()
    return entry.saved.unusable() or (f"damaged: {', '.join(damaged)}" if damaged else None)


def _forget(store: SavedLabs, entry: Entry, home: Home) -> None:
    # One that another lab stands on stays: that lab shows that it is whole.
    with suppress(LabError):
        store.forget(entry, used_keys(home))
