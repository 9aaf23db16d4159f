"""Keeping the recovery points of one stream to its policy, and the undo log as small as they allow.

A point that goes is announced first (the announcement survives a crash), then forgotten, both durably, and only then
may the undo log lose what was needed to reach it. After a crash in between, the rule finds the same points again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from lab.replication.master_target.points import Point, PointStore
from lab.replication.master_target.room import Room
from lab.replication.master_target.undo import UndoStore, runs
from lab.replication.retention import Retention, keep

log = logging.getLogger(__name__)

STOP_S = 60.0
SHORT_OF_ROOM = "the disk for recovery points is short of room"


class Keeper:
    """Prunes points when told to, and merges undo files in a thread of its own.

    Args:
        points: the points; whoever holds ``lock`` owns them and the undo log.
        undo: the undo log.
        lock: the lock of the stream; merging holds it only to put a finished file in its place.
        retention: the policy.
        room: the disk that points and undo log are on.
        announce: is told which points are about to go, and why, None when the policy says so.
    """

    def __init__(
        self,
        points: PointStore,
        undo: UndoStore,
        lock: threading.Lock,
        retention: Retention,
        *,
        room: Room,
        announce: Callable[[Sequence[Point], str | None], None],
    ) -> None:
        self._points = points
        self._undo = undo
        self._lock = lock
        self._retention = retention
        self._room = room
        self._announce = announce
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._merge_always, name="undo-merge", daemon=True)

    def start(self) -> None:
        """Apply the policy to what is there, and begin to merge."""
        with self._lock:
            self.prune()
        self._wake.set()
        self._thread.start()

    def close(self) -> None:
        """Stop merging; a merge that is not finished is dropped."""
        self._stop.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def prune(self) -> None:
        """Forget the points that the policy does not keep; the caller holds the lock."""
        known = self._points.all()
        kept = keep(known, time.time_ns(), self._retention)
        if len(kept) == len(known):
            return
        staying = {point.sequence for point in kept}
        self._forget([point for point in known if point.sequence not in staying], kept[0], None)
        self._wake.set()

    def make_room(self) -> None:
        """Forget the oldest points while the disk is short of room, never the newest; the caller holds the lock.

        Replication goes on with a shorter window, instead of ending with the full one.
        """
        while self._room.short and len(known := self._points.all()) > 1:
            log.warning("short of room: recovery point %s goes before its time", known[0].id)
            self._forget(known[:1], known[1], SHORT_OF_ROOM)

    def _forget(self, gone: list[Point], oldest: Point, reason: str | None) -> None:
        self._announce(gone, reason)
        self._points.remove(gone)
        self._undo.drop_through(oldest.sequence)

    def merge_next(self) -> bool:
        """Merge the undo files between one pair of points; return whether there was something to merge."""
        with self._lock:
            points = [point.sequence for point in self._points.all()]
            found = runs(self._undo.sequences(), points)
        if not found:
            return False
        part = self._undo.merge(found[0], self._stop.is_set)
        if part is None:
            return False
        with self._lock:
            self._undo.adopt(found[0], part)
        return True

    def _merge_always(self) -> None:
        while not self._stop.is_set():
            self._wake.clear()
            try:
                while not self._stop.is_set() and self.merge_next():
                    log.info("merged undo files")
            except OSError:  # without room to merge the files stay as they are, which is as good
                log.exception("undo files were not merged")
            self._wake.wait()
