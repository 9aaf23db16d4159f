"""One logged-in connection: bulk reads, calls that renew an expired session once, and waiting for updates."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pyVmomi import vim, vmodl

from lab.hypervisors.esxi.errors import CONNECTION, message_of, translated
from lab.hypervisors.protocols import HypervisorError
from lab.waiting import Deadline, DeadlineExceeded

T = TypeVar("T")
Collector = vmodl.query.PropertyCollector
PAGE = 500
POLL_SECONDS = 30
"""How long one call waits for updates; shorter than the timeout of a connection."""


Change = tuple[str, Any, dict[str, Any]]
"""Kind of update (enter, modify, leave), object, changed values."""


@dataclass(frozen=True)
class Batch:
    """What one wait for updates brought. ``fresh``: it is everything there is, not what changed since the last one."""

    fresh: bool
    changes: list[Change]


@dataclass(frozen=True)
class Read:
    """What was read of one object. Properties that are unset are not there."""

    ref: Any
    values: Mapping[str, Any]


class Session:
    """A connection of one account. ``stub`` makes the transport; it is made once."""

    def __init__(self, stub: Any, user: str, password: str) -> None:
        self.stub = stub
        self._user, self._password = user, password
        self._lock = threading.Lock()
        self._logins = 0
        self._views: dict[tuple[int, str], Any] = {}
        self.content: Any = None

    def open(self) -> None:
        """Log in. Raises HypervisorError: no answer, wrong password, untrusted certificate."""
        with translated("login"):
            self.content = vim.ServiceInstance("ServiceInstance", self.stub).RetrieveContent()
        self._log_in()

    def close(self) -> None:
        """Log out; the host may be gone already."""
        if self._logins:
            with suppress(vmodl.MethodFault, *CONNECTION):
                self.content.sessionManager.Logout()
        drop = getattr(self.stub, "DropConnections", None)
        if drop is not None:
            drop()

    def idempotent(self, what: str, call: Callable[[], T]) -> T:
        """Return what a repeatable call returns; an expired session or a broken connection is mended once.

        Raises:
            HypervisorError: it failed, or failed again.
        """
        logins = self._logins
        try:
            return call()
        except vim.fault.NotAuthenticated:
            self._renew(logins)
        except CONNECTION:
            pass  # a kept connection that the host has closed; the second try makes a new one
        except vmodl.MethodFault as fault:
            with translated(what):
                raise fault from None
        with translated(what):
            return call()

    def once(self, what: str, call: Callable[[], T]) -> T:
        """Return what a call returns that must not be made twice. Every such call follows a read, which renews."""
        with translated(what):
            return call()

    def read(self, references: Sequence[Any], paths: Sequence[str], what: str = "properties") -> list[Read]:
        """Return properties of some objects of one type, in one round trip. Raises NotFound when one is gone."""
        if not references:
            return []
        objects = [Collector.ObjectSpec(obj=reference) for reference in references]
        return self.idempotent(what, lambda: self._retrieve(type(references[0]), paths, objects))

    def read_one(self, reference: Any, *paths: str) -> Mapping[str, Any]:
        """Return properties of one object. Raises NotFound."""
        return self.read([reference], paths)[0].values

    def read_all(self, kind: Any, paths: Sequence[str]) -> list[Read]:
        """Return properties of every object of a type below the root, in one round trip once the view is there."""
        return self.idempotent(f"list of {kind.__name__}", lambda: self._read_view(kind, paths))

    def wait(self, task: Any, what: str, deadline: Deadline) -> Any:
        """Wait for a task and return its result; it is asked to end when the deadline passes.

        Raises:
            HypervisorError: what the task's fault says.
            DeadlineExceeded: it was not done in time.
        """
        paths = ["info.state", "info.progress", "info.error", "info.result"]
        known: dict[str, Any] = {}
        try:
            for batch in self.updates(lambda: [Collector.ObjectSpec(obj=task)], vim.Task, paths, deadline, what):
                for _, _, values in batch.changes:
                    known.update(values)
                if known.get("info.state") == vim.TaskInfo.State.success:
                    return known.get("info.result")
                if known.get("info.state") == vim.TaskInfo.State.error:
                    with translated(what):
                        raise known["info.error"]
        finally:
            if known.get("info.state") not in {vim.TaskInfo.State.success, vim.TaskInfo.State.error}:
                with suppress(vmodl.MethodFault, *CONNECTION):
                    task.CancelTask()
        progress = known.get("info.progress")
        done = f" ({progress} % done)" if progress is not None else ""
        raise DeadlineExceeded(f"{what} was not done within {deadline.seconds:.0f} s{done}")

    def updates(
        self, objects: Callable[[], Sequence[Any]], kind: Any, paths: Sequence[str], deadline: Deadline, what: str
    ) -> Iterator[Batch]:
        """Yield what changed until the deadline. Raises HypervisorError.

        ``objects`` is asked again after a renewed login: a view of the old session is gone with it.
        """
        properties = [Collector.PropertySpec(type=kind, pathSet=list(paths))]
        while not deadline.expired:
            logins = self._logins
            try:
                with self._collector(Collector.FilterSpec(objectSet=list(objects()), propSet=properties)) as collector:
                    yield from _batches(collector, deadline)
            except vim.fault.NotAuthenticated:
                self._renew(logins)
            except (vmodl.MethodFault, *CONNECTION) as error:
                with translated(what):
                    raise error from None

    def view(self, kind: Any) -> Any:
        """Return the kept view of all objects of a type. May raise faults."""
        key = (self._logins, kind.__name__)
        if key not in self._views:
            root = self.content.rootFolder
            self._views[key] = self.content.viewManager.CreateContainerView(root, [kind], True)
        return self._views[key]

    def _read_view(self, kind: Any, paths: Sequence[str]) -> list[Read]:
        step = Collector.TraversalSpec(name="view", type=vim.view.ContainerView, path="view", skip=False)
        start = Collector.ObjectSpec(obj=self.view(kind), skip=True, selectSet=[step])
        return self._retrieve(kind, paths, [start])

    def _retrieve(self, kind: Any, paths: Sequence[str], objects: Sequence[Any]) -> list[Read]:
        properties = Collector.PropertySpec(type=kind, pathSet=list(paths))
        spec = Collector.FilterSpec(objectSet=list(objects), propSet=[properties])
        collector = self.content.propertyCollector
        answer = collector.RetrievePropertiesEx([spec], Collector.RetrieveOptions(maxObjects=PAGE))
        found: list[Read] = []
        while answer is not None:
            found += [Read(each.obj, {item.name: item.val for item in each.propSet}) for each in answer.objects]
            answer = collector.ContinueRetrievePropertiesEx(answer.token) if answer.token else None
        return found

    @contextmanager
    def _collector(self, spec: Any) -> Iterator[Any]:
        collector = self.content.propertyCollector.CreatePropertyCollector()
        try:
            collector.CreateFilter(spec, False)
            yield collector
        finally:
            with suppress(vmodl.MethodFault, *CONNECTION):
                collector.DestroyPropertyCollector()

    def _renew(self, logins: int) -> None:
        """Log in again, unless another thread has done so since ``logins``."""
        if self._logins == logins:
            self._log_in()

    def _log_in(self) -> None:
        with self._lock:
            try:
                self.content.sessionManager.Login(self._user, self._password)
            except vim.fault.InvalidLogin as fault:
                raise HypervisorError(f"login of {self._user} was refused: {message_of(fault)}") from fault
            except (vmodl.MethodFault, *CONNECTION) as error:
                with translated("login"):
                    raise error from None
            self._logins += 1
            self._views.clear()


def _batches(collector: Any, deadline: Deadline) -> Iterator[Batch]:
    version, fresh = "", True
    changes: list[Change] = []
    while not deadline.expired:
        seconds = max(1, int(deadline.clamp(POLL_SECONDS) + 0.999))
        found = collector.WaitForUpdatesEx(version, Collector.WaitOptions(maxWaitSeconds=seconds))
        if found is not None:
            version = found.version
            changes += _changes(found)
        complete = found is not None and not found.truncated
        if complete or (fresh and found is None):  # nothing came: there is nothing
            yield Batch(fresh, changes)
            fresh, changes = False, []


def _changes(found: Any) -> list[Change]:
    return [
        (str(update.kind), update.obj, {change.name: change.val for change in update.changeSet})
        for each in found.filterSet
        for update in each.objectSet
    ]
