"""Tasks: work that a client is not kept waiting for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pyVmomi import VmomiSupport, vim, vmodl

from lab.emulators.esxi.registry import Call, Managed, Registry, operation

log = logging.getLogger(__name__)
RECENT = 20


class Task(Managed):
    """One piece of work and how it went."""

    kind = vim.Task

    def __init__(self, registry: Registry, identity: str, info: Any) -> None:
        self.info = info
        super().__init__(registry, identity)
        self.info.key, self.info.task = identity, self.ref

    @operation
    def cancel_task(self, call: Call) -> None:  # noqa: ARG002 - the protocol's signature
        """Refuse: nothing here can be cancelled half-way."""
        raise vmodl.fault.NotSupported(msg="this task cannot be cancelled")


class TaskManager(Managed):
    """Starts tasks and remembers the last ones."""

    kind = vim.TaskManager

    def __init__(self, registry: Registry, identity: str) -> None:
        self.recent_task: list[Any] = []
        self._tasks: list[Task] = []
        self._threads: list[threading.Thread] = []
        super().__init__(registry, identity)

    def start(self, entity: Managed, method: Any, call: Call, work: Callable[[Call], Any]) -> Any:
        """Run ``work`` in a thread of its own and return the reference of its task."""
        number = self.registry.number()
        info = vim.TaskInfo(
            name=VmomiSupport.GetWsdlMethod("urn:vim25", method.wsdlName),
            descriptionId=f"{VmomiSupport.GetWsdlName(entity.kind)}.{method.name}",
            entityName=getattr(entity, "name", None),
            state="queued",
            cancelled=False,
            cancelable=False,
            reason=vim.TaskReasonUser(userName=call.session.user or "unknown"),
            queueTime=datetime.now(UTC),
            eventChainId=number,
        )
        if issubclass(entity.kind, vim.ManagedEntity):
            info.entity = entity.ref
        task = Task(self.registry, f"task-{number}", info)
        self._remember(task)
        worker = threading.Thread(target=self._run, args=(task, call, work), name=task.info.key, daemon=True)
        self._threads = [thread for thread in self._threads if thread.is_alive()] + [worker]
        worker.start()
        return task.ref

    def settle(self, seconds: float) -> None:
        """Wait for tasks that still run, each ``seconds`` at most."""
        for thread in list(self._threads):
            thread.join(seconds)

    def _remember(self, task: Task) -> None:
        with self.registry.changing():
            self._tasks.append(task)
            self.recent_task = [item.ref for item in self._tasks[-RECENT:]]
            finished = [item for item in self._tasks[:-RECENT] if item.info.completeTime is not None]
            for item in finished[:-RECENT]:
                self._tasks.remove(item)
                item.remove()

    def _run(self, task: Task, call: Call, work: Callable[[Call], Any]) -> None:
        with self.registry.changing():
            task.info.state, task.info.startTime = "running", datetime.now(UTC)
        fault = None
        try:
            result = work(call)
            with self.registry.changing():
                task.info.result = result
        except vmodl.MethodFault as error:
            fault = error
        except Exception as error:
            log.exception("task %s broke", task.info.key)
            fault = vmodl.fault.SystemError(reason=repr(error), msg=f"the emulator broke: {error!r}")
        with self.registry.changing():
            if fault is not None:
                task.info.error = _as_value(fault)
            task.info.state = "success" if fault is None else "error"
            task.info.completeTime = datetime.now(UTC)


def _as_value(fault: Any) -> Any:
    """Return the fault as it is written in ``info.error``: with its message beside it."""
    fault.msg = fault.msg or type(fault).__name__
    return fault
