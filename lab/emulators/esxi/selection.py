"""What a PropertyFilterSpec selects: objects reached by traversal, and of each the properties asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from pyVmomi import VmomiSupport, vmodl

from lab.emulators.esxi.registry import Managed, Registry

Collector = vmodl.query.PropertyCollector
MOST_OBJECTS = 100_000


@dataclass
class Selection:
    """The walk over one filter specification."""

    registry: Registry
    spec: Any
    found: dict[str, Any] = field(default_factory=dict)
    _named: dict[str, Any] = field(default_factory=dict)
    _seen: set[tuple[str, int]] = field(default_factory=set)

    def run(self) -> dict[str, Any]:
        """Return the content of every selected object, by identity. Raises ManagedObjectNotFound, InvalidProperty."""
        with self.registry.reading():
            for start in self.spec.objectSet:
                self._learn(start.selectSet)
                self._visit(self.registry.find(start.obj), start.selectSet, skip=bool(start.skip))
        return self.found

    def _learn(self, selections: Any) -> None:
        for selection in selections or []:
            if isinstance(selection, Collector.TraversalSpec):
                if selection.name:
                    self._named[selection.name] = selection
                self._learn(selection.selectSet)

    def _visit(self, managed: Managed, selections: Any, *, skip: bool) -> None:
        identity = managed.ref._moId  # noqa: SLF001 - pyVmomi has no other name for it
        if not skip and identity not in self.found:
            content = content_of(managed, self.spec.propSet)
            if content is not None:
                self.found[identity] = content
        for selection in selections or []:
            step = selection if isinstance(selection, Collector.TraversalSpec) else self._named.get(selection.name)
            if step is None or not issubclass(managed.kind, step.type) or (identity, id(step)) in self._seen:
                continue
            self._seen.add((identity, id(step)))
            for reference in _references(managed.read_property(step.path)):
                target = self.registry.lookup(reference)
                if target is not None:
                    self._visit(target, step.selectSet, skip=bool(step.skip))


def content_of(managed: Managed, wanted: Any) -> Any:
    """Return an ObjectContent with what the most specific property specification asks of an object, or None."""
    fitting = [spec for spec in wanted if issubclass(managed.kind, spec.type)]
    if not fitting:
        return None
    spec = max(fitting, key=lambda each: len(each.type.__mro__))
    names = spec.pathSet or []
    if spec.all:
        names = [info.name for info in managed.kind._GetPropertyList()]  # noqa: SLF001 - the only way to list them
    content = Collector.ObjectContent(obj=managed.ref)
    for name in names:
        found = managed.read_property(name)
        if found is not None:
            content.propSet.append(vmodl.DynamicProperty(name=name, val=found))
    return content


def _references(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value] if isinstance(value, VmomiSupport.ManagedObject) else []
