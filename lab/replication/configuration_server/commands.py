"""Commands to components: queued here, fetched by long poll, answered with a result (seed L63: nobody is called)."""

from __future__ import annotations

import asyncio
import json
import math
import time
import uuid
from collections.abc import Collection
from typing import Any

from lab.replication.common.signals import Signal
from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import ComponentUnreachable, JobError, Unknown

CANCELLED = json.dumps({"ok": False, "error": {"type": "cancelled", "message": "nobody waits for this any more"}})


class CommandQueue:
    """One queue for each component; a command stays at its head until there is a result."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._news: dict[str, Signal] = {}
        self._polls: dict[str, int] = {}
        self._results: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._taken: dict[str, asyncio.Event] = {}
        self._heard: dict[str, float] = {}
        self._closed = False

    async def call(
        self, component: str, name: str, arguments: dict[str, Any], *, delivery: float, deadline: float
    ) -> dict[str, Any]:
        """Have a component execute a command and return the value of its result.

        Raises:
            ComponentUnreachable: it did not take the command, and nothing else was heard of it, for ``delivery``
                seconds, or it did not answer in ``deadline`` seconds after it took it; the command is withdrawn.
            JobError: it answered with an error, whose type and message these are.
        """
        command = self._enqueue(component, name, arguments)
        result: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._results[command], self._taken[command] = result, asyncio.Event()
        self._signal(component).notify()
        try:
            await self._delivered(command, component, name, delivery)
            async with asyncio.timeout(deadline):
                answer = await result
        except TimeoutError as error:
            raise ComponentUnreachable(f"{component} did not answer {name} within {deadline:.0f} s") from error
        finally:
            self._withdraw(command)
        if answer["ok"]:
            return dict(answer.get("value") or {})
        failure = answer.get("error") or {}
        raise JobError(
            str(failure.get("type", "component-error")), f"{component}: {name}: {failure.get('message', 'failed')}"
        )

    async def next(self, component: str, wait: float, busy: Collection[str] = ()) -> dict[str, Any] | None:
        """Return the oldest command without a result, waiting up to ``wait`` seconds for one.

        Those that the component says it is ``busy`` with are not delivered again.

        A newer call for the same component ends this one: the older connection is likely dead.
        """
        turn = self._polls[component] = self._polls.get(component, 0) + 1
        self._heard[component] = time.monotonic()
        signal = self._signal(component)
        signal.notify()
        end = time.monotonic() + wait
        while not self._closed and self._polls[component] == turn:
            command = self._deliver(component, busy)
            if command is not None:
                return command
            remaining = end - time.monotonic()
            if remaining <= 0:
                break
            await signal.wait(remaining)
        return None

    def finish(self, component: str, command: str, result: dict[str, Any]) -> None:
        """Take a result; one that nobody waits for any more is dropped.

        Raises:
            Unknown: this component was never given such a command.
        """
        row = self._database.row("SELECT state FROM commands WHERE id = ? AND component = ?", command, component)
        if row is None:
            raise Unknown(f"{component} has no command {command}")
        self._heard[component] = time.monotonic()
        if row["state"] != "done":
            self._close(command, json.dumps(result))
        waiting = self._results.get(command)
        if waiting is not None and not waiting.done():
            waiting.set_result(result)
        taken = self._taken.get(command)
        if taken is not None:
            taken.set()

    def withdraw_all(self) -> None:
        """Withdraw what an earlier run of this server left: its jobs are gone, nobody waits."""
        self._database.write(
            "UPDATE commands SET state = 'done', result = ?, done_ns = ? WHERE state <> 'done'",
            CANCELLED,
            time.time_ns(),
        )

    def close(self) -> None:
        """End all long polls."""
        self._closed = True
        for signal in self._news.values():
            signal.notify()

    def _enqueue(self, component: str, name: str, arguments: dict[str, Any]) -> str:
        command = uuid.uuid4().hex
        self._database.write(
            "INSERT INTO commands (id, number, component, name, arguments, state, created_ns) "
            "VALUES (?, (SELECT coalesce(max(number), 0) + 1 FROM commands), ?, ?, ?, 'queued', ?)",
            command,
            component,
            name,
            json.dumps(arguments),
            time.time_ns(),
        )
        return command

    def _deliver(self, component: str, busy: Collection[str]) -> dict[str, Any] | None:
        row = self._database.row(
            "SELECT * FROM commands WHERE component = ? AND state <> 'done' "
            "AND id NOT IN (SELECT value FROM json_each(?)) ORDER BY number LIMIT 1",
            component,
            json.dumps(list(busy)),
        )
        if row is None:
            return None
        if row["state"] == "queued":
            self._database.write(
                "UPDATE commands SET state = 'delivered', delivered_ns = ? WHERE id = ?", time.time_ns(), row["id"]
            )
        taken = self._taken.get(row["id"])
        if taken is not None:
            taken.set()
        return {"id": row["id"], "name": row["name"], "arguments": json.loads(row["arguments"])}

    async def _delivered(self, command: str, component: str, name: str, delivery: float) -> None:
        """Wait as long as the component works off what stands before this command, as in a plan of many machines."""
        left = delivery
        while left > 0:
            try:
                # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
                async with asyncio.timeout(left):
                    await self._taken[command].wait()
                    return
            except TimeoutError:
                left = self._heard.get(component, -math.inf) + delivery - time.monotonic()
        raise ComponentUnreachable(f"{component} did not take {name}, nor was heard of, for {delivery:.0f} s")

    def _withdraw(self, command: str) -> None:
        del self._results[command], self._taken[command]
        self._close(command, CANCELLED)

    def _close(self, command: str, result: str) -> None:
        self._database.write(
            "UPDATE commands SET state = 'done', result = ?, done_ns = ? WHERE id = ? AND state <> 'done'",
            result,
            time.time_ns(),
            command,
        )

    def _signal(self, component: str) -> Signal:
        return self._news.setdefault(component, Signal())
