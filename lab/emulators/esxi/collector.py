"""The property collector: reads in pages, filters, and updates by comparing what filters select."""

from __future__ import annotations

import time
from typing import Any

from pyVmomi import vmodl

from lab.emulators.esxi import wire
from lab.emulators.esxi.registry import Call, Managed, Registry, operation
from lab.emulators.esxi.selection import Collector, Selection

PAGE = 1000
LONGEST_WAIT = 1800.0
Values = dict[str, tuple[str, Any]]


class PropertyFilter(Managed):
    """One filter and what it selected when its owner was last told."""

    kind = Collector.Filter

    def __init__(self, registry: Registry, owner: PropertyCollector, spec: Any) -> None:
        self.spec = spec
        self.partial_updates = False
        self._owner = owner
        self._last: dict[str, Values] = {}
        self._references: dict[str, Any] = {}
        super().__init__(registry, f"filter-{registry.number()}")

    @operation
    def destroy_property_filter(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """Forget the filter."""
        self._owner.filters.remove(self)
        self.remove()

    def forget(self) -> None:
        """Report everything as new the next time."""
        self._last = {}

    def difference(self) -> Any:
        """Return a FilterUpdate with what changed since the last call, or None."""
        try:
            selected = Selection(self.registry, self.spec).run()
        except vmodl.fault.ManagedObjectNotFound:
            selected = {}
        present = {
            identity: {item.name: (wire.comparable(item.val), item.val) for item in content.propSet}
            for identity, content in selected.items()
        }
        self._references.update({identity: content.obj for identity, content in selected.items()})
        updates = [
            update
            for identity, values in present.items()
            if (update := _update(self._references[identity], self._last.get(identity), values)) is not None
        ]
        updates += [
            Collector.ObjectUpdate(kind="leave", obj=self._references.pop(identity))
            for identity in self._last
            if identity not in present
        ]
        self._last = present
        return Collector.FilterUpdate(filter=self.ref, objectSet=updates) if updates else None


class PropertyCollector(Managed):
    """The host's own collector, or one that a client made."""

    kind = Collector

    def __init__(self, registry: Registry, identity: str) -> None:
        self.filters: list[PropertyFilter] = []
        self._version = 0
        self._pages: dict[str, tuple[list[Any], int]] = {}
        self._cancelled = False
        super().__init__(registry, identity)

    @property
    def filter(self) -> list[Any]:
        """References of the filters."""
        return [item.ref for item in self.filters]

    @operation
    def create_property_collector(self, call: Call) -> Any:
        """Make a collector of the client's own."""
        return PropertyCollector(self.registry, f"session[{call.session.key}]{self.registry.number()}").ref

    @operation
    def destroy_property_collector(self, call: Call) -> None:
        """Forget the collector with its filters."""
        for item in list(self.filters):
            item.destroy_property_filter(call)
        self.remove()

    @operation
    def create_filter(self, call: Call) -> Any:
        """Make a filter. Raises what reading it would."""
        Selection(self.registry, call.given.spec).run()
        made = PropertyFilter(self.registry, self, call.given.spec)
        self.filters.append(made)
        return made.ref

    @operation
    def retrieve_properties(self, call: Call) -> list[Any]:
        """Read at once, without pages."""
        return [content for spec in call.given.specSet for content in Selection(self.registry, spec).run().values()]

    @operation
    def retrieve_properties_ex(self, call: Call) -> Any:
        """Read, at most ``maxObjects`` in one answer."""
        options = call.given.options
        return self._page(self.retrieve_properties(call), (options and options.maxObjects) or PAGE)

    @operation
    def continue_retrieve_properties_ex(self, call: Call) -> Any:
        """Read the next page. Raises InvalidArgument for an unknown token."""
        if call.given.token not in self._pages:
            raise vmodl.fault.InvalidArgument(invalidProperty="token", msg="there is no such token")
        return self._page(*self._pages.pop(call.given.token))

    @operation
    def cancel_retrieve_properties_ex(self, call: Call) -> None:
        """Forget the rest of the pages."""
        self._pages.pop(call.given.token, None)

    @operation
    def cancel_wait_for_updates(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """End the wait of another call."""
        with self.registry.changing():
            self._cancelled = True

    @operation
    def check_for_updates(self, call: Call) -> Any:
        """Return what changed, without waiting."""
        return self._wait(call.given.version, 0.0)

    @operation
    def wait_for_updates(self, call: Call) -> Any:
        """Wait until something changed."""
        return self._wait(call.given.version, LONGEST_WAIT)

    @operation
    def wait_for_updates_ex(self, call: Call) -> Any:
        """Wait until something changed, ``maxWaitSeconds`` at most; then the answer is empty."""
        options = call.given.options
        limit = options.maxWaitSeconds if options is not None else None
        return self._wait(call.given.version, LONGEST_WAIT if limit is None else min(float(limit), LONGEST_WAIT))

    def _wait(self, version: str | None, seconds: float) -> Any:
        if not version:
            for item in self.filters:
                item.forget()
        elif version != str(self._version):
            raise vmodl.query.InvalidCollectorVersion(msg=f"version {version} is not the last one")
        end = time.monotonic() + seconds
        with self.registry.reading() as condition:
            while True:
                updates = [update for item in self.filters if (update := item.difference()) is not None]
                if updates:
                    self._version += 1
                    return Collector.UpdateSet(version=str(self._version), filterSet=updates)
                if self._cancelled:
                    self._cancelled = False
                    raise vmodl.fault.RequestCanceled(msg="the wait was cancelled")
                if not condition.wait(end - time.monotonic()) and time.monotonic() >= end:
                    return None

    def _page(self, contents: list[Any], size: int) -> Any:
        if not contents:
            return None
        token = None
        if len(contents) > size:
            token = f"page-{self.registry.number()}"
            self._pages[token] = (contents[size:], size)
        return Collector.RetrieveResult(token=token, objects=contents[:size])


def _update(reference: Any, before: Values | None, values: Values) -> Any:
    known = before or {}
    changes = [
        Collector.Change(name=name, op="assign", val=value)
        for name, (text, value) in values.items()
        if name not in known or known[name][0] != text
    ]
    changes += [Collector.Change(name=name, op="assign", val=None) for name in known if name not in values]
    if before is not None and not changes:
        return None
    return Collector.ObjectUpdate(kind="modify" if before is not None else "enter", obj=reference, changeSet=changes)
