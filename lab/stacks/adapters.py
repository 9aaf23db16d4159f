"""Stacks by the name that a topology uses: the reference stack, and those of other packages, by entry point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import EntryPoint, entry_points

from lab.errors import BadInput
from lab.provision.board import Board
from lab.provision.lab import Lab
from lab.stacks.abilities import Ability, Lacks
from lab.stacks.adapter import Adapter
from lab.stacks.protocol import Stack
from lab.stacks.reference.deploy import credentials, deploy
from lab.stacks.reference.fabrics import resume_fabrics
from lab.stacks.reference.operate import operated
from lab.stacks.reference.reinstall import reinstall
from lab.topology.model import Topology


@contextmanager
def reference(lab: Lab, board: Board) -> Iterator[Stack]:
    """Yield the reference stack, installed now unless this lab has it already."""
    if not credentials(lab).certificate.exists():
        deploy(lab, board)
    with operated(lab) as stack:
        yield stack


def _reference_lacks(topology: Topology) -> Lacks:
    if topology.stack.protect_to_peer:
        raise BadInput(f"{topology.source}: stack reference replicates over servers: see 'stack.protect'")
    return {Ability.SYNCHRONOUS: "changes are sent at every cut, so a disaster loses those after the last one"}


ADAPTERS: dict[str, Adapter] = {"reference": Adapter(reference, _reference_lacks, resume_fabrics, reinstall)}
ENTRY_POINTS = "recovery_lab.stacks"
"""The group in which another package registers its adapters: name = module:object, of type ``Adapter``."""


def deployed(lab: Lab, board: Board) -> AbstractContextManager[Stack]:
    """Return the topology's stack on a lab.

    Raises:
        BadInput: there is no such adapter, two packages have one of that name, or it cannot be loaded.
    """
    return adapter_of(lab.topology).deployed(lab, board)


def adapter_of(topology: Topology) -> Adapter:
    """Return the adapter that a topology names. Raises BadInput."""
    return adapter(topology.stack.adapter, str(topology.source))


def refuse_unserved(topology: Topology) -> None:
    """Raise BadInput when the topology's stack does not exist, or cannot serve it: before anything is booted."""
    adapter_of(topology).lacks(topology)


def adapter(name: str, where: str) -> Adapter:
    """Return an adapter; the lab's own names cannot be taken by others. Raises BadInput, which names ``where``."""
    if name in ADAPTERS:
        return ADAPTERS[name]
    registered = entry_points(group=ENTRY_POINTS)
    found = [point for point in registered if point.name == name]
    if not found:
        known = sorted({*ADAPTERS, *(point.name for point in registered)})
        raise BadInput(f"{where}: no stack adapter {name!r}; there are: {', '.join(known)}")
    if len({point.value for point in found}) > 1:
        raise BadInput(f"{where}: more than one package has a stack adapter {name!r}: {_named(found)}")
    try:
        loaded = found[0].load()
    except (ImportError, AttributeError) as error:
        raise BadInput(f"{where}: stack adapter {name!r} cannot be loaded from {found[0].value}: {error}") from error
    if not isinstance(loaded, Adapter):
        kind = type(loaded).__name__
        raise BadInput(
            f"{where}: stack adapter {name!r}: {found[0].value} is a {kind}, not a lab.stacks.adapter.Adapter"
        )
    return loaded


def _named(points: list[EntryPoint]) -> str:
    return ", ".join(sorted(point.value for point in points))
