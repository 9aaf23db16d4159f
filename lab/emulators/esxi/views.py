"""Views of a subtree of the inventory, and searches in it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyVmomi import VmomiSupport, vim, vmodl

from lab.emulators.esxi.registry import Call, Managed, Registry, operation
from lab.emulators.esxi.sessions import Session

_BRANCHES = ("child_entity", "vm_folder", "host_folder", "datastore_folder", "network_folder")


def children(managed: Managed) -> list[Any]:
    """Return the references of what is directly below an object of the inventory."""
    found: list[Any] = []
    for branch in _BRANCHES:
        value = getattr(managed, branch, None)
        found += list(value) if isinstance(value, list) else [value] if value is not None else []
    if issubclass(managed.kind, vim.ComputeResource):
        found += [managed.read_property("resourcePool"), *managed.read_property("host")]
    return found


def below(registry: Registry, top: Managed, *, deep: bool) -> Iterator[Managed]:
    """Yield the objects below one, with theirs when ``deep``."""
    for reference in children(top):
        child = registry.lookup(reference)
        if child is not None:
            yield child
            if deep:
                yield from below(registry, child, deep=True)


class ContainerView(Managed):
    """What of some types is below a container, always up to date; gone with the session that made it."""

    kind = vim.view.ContainerView

    def __init__(self, registry: Registry, session: Session, spec: Any) -> None:
        self._session = session
        self.container, self.type, self.recursive = spec.container, list(spec.type or []), bool(spec.recursive)
        super().__init__(registry, f"view-{registry.number()}")

    @property
    def view(self) -> Any:
        """References of the objects. Raises ManagedObjectNotFound after the end of the session."""
        if not self._session.user:
            raise vmodl.fault.ManagedObjectNotFound(obj=self.ref, msg=f"{self.ref} ended with its session")
        top = self.registry.find(self.container)
        found = [
            item.ref
            for item in below(self.registry, top, deep=self.recursive)
            if not self.type or any(issubclass(item.kind, kind) for kind in self.type)
        ]
        return VmomiSupport.GetVmodlType("vmodl.ManagedObject[]")(found)

    @operation
    def destroy_view(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """Forget the view."""
        self.remove()


class ViewManager(Managed):
    """Makes views."""

    kind = vim.view.ViewManager

    @operation
    def create_container_view(self, call: Call) -> Any:
        """Make a view of a container. Raises ManagedObjectNotFound."""
        self.registry.find(call.given.container)
        return ContainerView(self.registry, call.session, call.given).ref


class SearchIndex(Managed):
    """Finds machines by identity and anything by its path."""

    kind = vim.SearchIndex

    def __init__(self, registry: Registry, identity: str, root: Managed) -> None:
        self._root = root
        super().__init__(registry, identity)

    @operation
    def find_by_uuid(self, call: Call) -> Any:
        """Return the machine with a BIOS or instance identity, or nothing."""
        if not call.given.vmSearch:
            return None
        name = "config.instanceUuid" if call.given.instanceUuid else "config.uuid"
        wanted = call.given.uuid.lower()
        for item in below(self.registry, self._root, deep=True):
            if issubclass(item.kind, vim.VirtualMachine) and str(item.read_property(name)).lower() == wanted:
                return item.ref
        return None

    @operation
    def find_by_inventory_path(self, call: Call) -> Any:
        """Return what is at a path of names, or nothing."""
        here = self._root
        for name in [part for part in call.given.inventoryPath.split("/") if part]:
            found = next((item for item in below(self.registry, here, deep=False) if _named(item, name)), None)
            if found is None:
                return None
            here = found
        return here.ref

    @operation
    def find_child(self, call: Call) -> Any:
        """Return the child of an entity that has a name, or nothing."""
        top = self.registry.find(call.given.entity)
        found = (item for item in below(self.registry, top, deep=False) if _named(item, call.given.name))
        return next((item.ref for item in found), None)


def _named(item: Managed, name: str) -> bool:
    return bool(getattr(item, "name", None) == name)


__all__ = ["ContainerView", "SearchIndex", "ViewManager", "below", "children", "vmodl"]
