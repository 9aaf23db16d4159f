"""The inventory of a VMware host, followed all the time by an account that may only look (seed L49, L51, L143)."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from lab.hypervisors.model import Seen
from lab.hypervisors.protocols import Discovery, HypervisorError
from lab.waiting import Deadline

log = logging.getLogger(__name__)

FOLLOW_SECONDS = 3600.0
"""A connection is made anew after this time."""
RETRY_SECONDS = 5.0
FIRST_SECONDS = 20.0
"""How long a question waits for the first answer of the host."""
NO_VCENTER = "no-vcenter: the machines are on a stand-alone host; a vCenter is recommended (seed L51)"


class Followed(Discovery, Protocol):
    """A connection to a host or vCenter."""

    @property
    def vcenter(self) -> bool:
        """Whether it is a vCenter."""

    def close(self) -> None:
        """Release the connection."""


Source = Callable[[], Followed]
"""Opens a connection. Raises HypervisorError."""


class NoInventory(Exception):
    """The inventory is not known; the message says why."""


class Follower:
    """A thread that keeps the last inventory. ``start`` and ``close`` once each."""

    def __init__(self, source: Source, retry_seconds: float = RETRY_SECONDS) -> None:
        self._source, self._retry = source, retry_seconds
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._known: dict[str, Any] | None = None
        self._problem = f"the host has told nothing within {FIRST_SECONDS:.0f} s"
        self._asked = threading.Event()
        self._thread = threading.Thread(target=self._run, name="discovery", daemon=True)

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def inventory(self) -> dict[str, Any]:
        """Return ``{vcenter, machines, changed_ns, advisories}``, the first time when the host has answered.

        Raises:
            NoInventory: it cannot be followed now.
        """
        self._asked.wait(FIRST_SECONDS)
        with self._lock:
            if self._known is None:
                raise NoInventory(f"the inventory is not known: {self._problem}")
            return self._known

    def close(self) -> None:
        """Stop following; a wait for updates ends with its connection."""
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                self._follow()
            except HypervisorError as error:
                log.warning("discovery: %s", error)
                self._forget(str(error))
                self._ended.wait(self._retry)

    def _follow(self) -> None:
        connection = self._source()
        try:
            for machines in connection.watch(Deadline.after(FOLLOW_SECONDS)):
                if self._ended.is_set():
                    return
                self._learn(machines, vcenter=connection.vcenter)
        finally:
            connection.close()

    def _learn(self, machines: Sequence[Seen], *, vcenter: bool) -> None:
        listed = [
            {"name": seen.name, "display_name": seen.display_name, "power": seen.power.value} for seen in machines
        ]
        with self._lock:
            if self._known is None or self._known["machines"] != listed:
                self._known = {
                    "vcenter": vcenter,
                    "machines": listed,
                    "changed_ns": time.time_ns(),
                    "advisories": [] if vcenter else [NO_VCENTER],
                }
        self._asked.set()

    def _forget(self, problem: str) -> None:
        """What may have changed meanwhile is not told as if it were known."""
        with self._lock:
            self._known, self._problem = None, problem
        self._asked.set()
