"""Following the inventory by the host's own updates."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from lab.hypervisors.esxi.describe import found_of
from lab.hypervisors.esxi.session import Batch, Collector, Read
from lab.hypervisors.esxi.site import Site
from lab.hypervisors.model import InventoryEvent, Seen, Sighting
from lab.waiting import Deadline

PATHS = ("name", "runtime.powerState", "config.extraConfig")
Known = dict[str, tuple[Any, dict[str, Any]]]
"""What the host has told so far: reference and properties, by the identity of the object."""


@dataclass(frozen=True)
class DiscoveryAbility:
    """Implements ``protocols.Discovery``. It only reads: an account of the role "read-only" will do."""

    site: Site

    def watch(self, deadline: Deadline) -> Iterator[Sequence[Seen]]:
        """Yield all of the lab's machines, by name, now and after every change. Raises HypervisorError."""
        for present in self._present(deadline):
            yield sorted(present.values(), key=lambda seen: seen.name)

    def follow(self, deadline: Deadline) -> Iterator[InventoryEvent]:
        """Yield what comes, changes and goes, each once, also over a renewed session. Raises HypervisorError."""
        told: dict[str, Seen] = {}
        for present in self._present(deadline):
            yield from _differences(told, present)
            told = present

    def _present(self, deadline: Deadline) -> Iterator[dict[str, Seen]]:
        known: Known = {}
        for batch in self.site.session.updates(self._objects, vim.VirtualMachine, PATHS, deadline, "inventory"):
            _learn(known, batch)
            yield self._seen(known)

    def _objects(self) -> list[Any]:
        step = Collector.TraversalSpec(name="view", type=vim.view.ContainerView, path="view", skip=False)
        view = self.site.session.view(vim.VirtualMachine)
        return [Collector.ObjectSpec(obj=view, skip=True, selectSet=[step])]

    def _seen(self, known: Known) -> dict[str, Seen]:
        present = {}
        for identity, (reference, values) in known.items():
            found = found_of(Read(reference, values), self.site.names)
            if found is not None and "runtime.powerState" in values:
                present[identity] = Seen(found.name, str(values["name"]), found.power)
        return present


def _learn(known: Known, batch: Batch) -> None:
    if batch.fresh:
        known.clear()
    for kind, reference, values in batch.changes:
        identity = str(reference._moId)  # noqa: SLF001 - pyVmomi has no other name for it
        if kind == "leave":
            known.pop(identity, None)
        else:
            known[identity] = (reference, {**known.get(identity, (None, {}))[1], **values})


def _differences(before: Mapping[str, Seen], after: Mapping[str, Seen]) -> Iterator[InventoryEvent]:
    for identity, seen in before.items():
        if identity not in after:
            yield _event(Sighting.GONE, seen)
    for identity, seen in after.items():
        if identity not in before:
            yield _event(Sighting.APPEARED, seen)
        elif seen != before[identity]:
            yield _event(Sighting.CHANGED, seen)


def _event(sighting: Sighting, seen: Seen) -> InventoryEvent:
    return InventoryEvent(sighting, seen.name, seen.display_name, seen.power)
