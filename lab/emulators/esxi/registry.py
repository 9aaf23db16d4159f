"""Managed objects on the server side, the registry that finds them, and how one is told that something changed."""

from __future__ import annotations

import itertools
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pyVmomi import VmomiSupport, vmodl

from lab.emulators.esxi.sessions import Session

_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_STEPS = re.compile(r"[^.\[]+|\[[^\]]*\]")
_READS, _WRITES = "reads", "writes"
_MARK = "_esxi_operation"

Handler = TypeVar("Handler", bound=Callable[..., Any])


@dataclass(frozen=True)
class Call:
    """One call of a method: who calls, and the arguments under their names in the WSDL."""

    session: Session
    given: Any


def operation(handler: Handler) -> Handler:
    """Mark a method that clients may call; its name is the WSDL's in snake case, without ``_Task``."""
    setattr(handler, _MARK, _READS)
    return handler


def mutation(handler: Handler) -> Handler:
    """Mark an operation that changes the host: a free licence does not allow it."""
    setattr(handler, _MARK, _WRITES)
    return handler


def writes(handler: Callable[[Call], Any]) -> bool:
    """Whether an operation changes the host."""
    return getattr(handler, _MARK, _READS) == _WRITES


def snake(name: str) -> str:
    """Return the Python name of a property or method of the vSphere types."""
    return _WORDS.sub("_", name.removesuffix("_Task")).lower()


class Managed:
    """A managed object. Its properties are attributes under their snake-case names; operations are marked."""

    kind: ClassVar[Any] = None
    """The vSphere type."""

    def __init__(self, registry: Registry, identity: str) -> None:
        self.registry = registry
        self.ref = self.kind(identity)
        registry.add(self)

    def remove(self) -> None:
        """Take the object out of the registry: from now on it was deleted."""
        self.registry.drop(self)

    def handler(self, method: str) -> Callable[[Call], Any] | None:
        """Return the operation of a WSDL method, or None when it is not implemented."""
        found = getattr(self, snake(method), None)
        return found if getattr(found, _MARK, None) else None

    def read_property(self, path: str) -> Any:
        """Return what a property path leads to, None when unset. Raises InvalidProperty."""
        head, *rest = _STEPS.findall(path) or [path]
        _require(self.kind, head, path)
        found, owner, last = getattr(self, snake(head), None), self.kind, head
        for step in rest:
            if found is None:
                return None
            if step.startswith("["):
                key = step[1:-1].strip('"')
                return next((item for item in found if str(getattr(item, "key", None)) == key), None)
            _require(type(found), step, path)
            owner, last, found = type(found), step, getattr(found, step)
        return _typed(found, owner, last)


class Registry:
    """Every managed object of one emulator, by its identity."""

    def __init__(self) -> None:
        self._objects: dict[str, Managed] = {}
        self._numbers = itertools.count(1)
        self._condition = threading.Condition(threading.RLock())
        self.calls = threading.local()
        """``session``: whose call this thread serves; a property of the session manager depends on it."""

    def number(self) -> int:
        """Return a number that was never given before."""
        return next(self._numbers)

    def add(self, managed: Managed) -> None:
        """Make an object known."""
        with self.changing():
            self._objects[managed.ref._moId] = managed  # noqa: SLF001 - pyVmomi has no other name for it

    def drop(self, managed: Managed) -> None:
        """Forget an object."""
        with self.changing():
            self._objects.pop(managed.ref._moId, None)  # noqa: SLF001

    def find(self, reference: Any) -> Managed:
        """Return the object of a reference. Raises ManagedObjectNotFound."""
        found = self.lookup(reference)
        if found is None:
            raise vmodl.fault.ManagedObjectNotFound(
                obj=reference,
                msg=f"The object '{reference._moId}' has already been deleted or has not been completely created",  # noqa: SLF001
            )
        return found

    def lookup(self, reference: Any) -> Managed | None:
        """Return the object of a reference, or None."""
        found = self._objects.get(reference._moId)  # noqa: SLF001
        return found if found is not None and issubclass(found.kind, type(reference)) else None

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold all other changes back inside the block and wake those who wait for updates after it."""
        with self._condition:
            yield
            self._condition.notify_all()

    @contextmanager
    def reading(self) -> Iterator[threading.Condition]:
        """Hold changes back inside the block; the condition can be waited on."""
        with self._condition:
            yield self._condition


def _require(owner: Any, name: str, path: str) -> None:
    try:
        owner._GetPropertyInfo(name)  # noqa: SLF001 - the only way to ask pyVmomi for a type's properties
    except AttributeError:
        raise vmodl.query.InvalidProperty(name=path, msg=f"there is no property {path}") from None


def _typed(found: Any, owner: Any, name: str) -> Any:
    """Give native lists and texts their declared type, so that a value of type "any" says what it is."""
    declared = owner._GetPropertyInfo(name).type  # noqa: SLF001
    if isinstance(found, str) and issubclass(declared, VmomiSupport.Enum):
        return declared(found)
    if isinstance(found, list) and not isinstance(found, VmomiSupport.Array):
        return declared(found)
    return found
