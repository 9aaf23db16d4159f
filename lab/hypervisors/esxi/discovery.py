"""Following the inventory by the host's own updates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pyVmomi import vim

from lab.hypervisors.esxi.describe import Found, found_of
from lab.hypervisors.esxi.session import Collector, Read
from lab.hypervisors.esxi.site import Site
from lab.hypervisors.model import InventoryEvent, Sighting
from lab.waiting import Deadline

PATHS = ("name", "runtime.powerState", "config.extraConfig")


@dataclass(frozen=True)
class DiscoveryAbility:
    """Implements ``protocols.Discovery``."""

    site: Site

    def follow(self, deadline: Deadline) -> Iterator[InventoryEvent]:
        """Yield what comes, changes and goes. After a session was renewed, everything is told again as changed."""
        session = self.site.session
        step = Collector.TraversalSpec(name="view", type=vim.view.ContainerView, path="view", skip=False)
        view = session.idempotent("view of machines", lambda: session.view(vim.VirtualMachine))
        start = Collector.ObjectSpec(obj=view, skip=True, selectSet=[step])
        known: dict[str, dict[str, Any]] = {}
        told: dict[str, InventoryEvent] = {}
        for updates in session.updates([start], vim.VirtualMachine, PATHS, deadline, "inventory"):
            for kind, reference, values in updates:
                yield from self._events(kind, reference, values, known, told)

    def _events(
        self,
        kind: str,
        reference: Any,
        values: dict[str, Any],
        known: dict[str, dict[str, Any]],
        told: dict[str, InventoryEvent],
    ) -> Iterator[InventoryEvent]:
        identity = str(reference._moId)  # noqa: SLF001 - pyVmomi has no other name for it
        if kind == "leave":
            known.pop(identity, None)
            last = told.pop(identity, None)
            if last is not None:
                yield InventoryEvent(Sighting.GONE, last.name, last.display_name, last.power)
            return
        known[identity] = {**known.get(identity, {}), **values}
        found = found_of(Read(reference, known[identity]), self.site.names)
        if found is None or "runtime.powerState" not in known[identity]:
            return
        event = _seen(found, Sighting.CHANGED if identity in told else Sighting.APPEARED)
        last = told.get(identity)
        told[identity] = event
        same = last is not None and (last.display_name, last.power) == (event.display_name, event.power)
        if not same:
            yield event


def _seen(found: Found, sighting: Sighting) -> InventoryEvent:
    return InventoryEvent(sighting, found.name, str(found.values["name"]), found.power)
