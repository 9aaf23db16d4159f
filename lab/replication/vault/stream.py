"""The thread of one stream: takes logs, merges them, settles, prunes."""

from __future__ import annotations

import logging
import shutil
import threading
from pathlib import Path

from lab.replication.common.backoff import Backoff
from lab.replication.common.durable import JSON
from lab.replication.vault.merger import Merger
from lab.replication.vault.points import ReplicaPoint
from lab.replication.vault.storage import BlobSource, Storage
from lab.waiting import Deadline, DeadlineExceeded, wait_until

log = logging.getLogger(__name__)

POLL_S = 1.0
"""A storage account calls nobody: the container is looked at so often while nothing comes."""
VERIFY_S = 15.0
STOP_S = 60.0


class MergedStream:
    """A stream that is open here; ``merger`` is touched by others only with the lock of this."""

    def __init__(self, directory: Path, merger: Merger, storage: Storage) -> None:
        self._directory = directory
        self._merger = merger
        self._storage = storage
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._problem = ""
        self._thread = threading.Thread(target=self._run, name=f"merge-{merger.settings.stream}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the current document."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_S)

    def delete(self, *, blobs: bool) -> None:
        """Close, and delete journal, container and (with ``blobs``) the replica. Raises StorageError."""
        self.close()
        settings = self._merger.settings
        self._storage.close_stream(settings.stream)
        if blobs:
            for blob in settings.blobs.values():
                self._storage.delete(blob)
        shutil.rmtree(self._directory, ignore_errors=True)

    def status(self) -> JSON:
        """Return how far it is."""
        merger = self._merger
        return {
            "machine": merger.settings.machine,
            "received": merger.journal.received,
            "merged": merger.state.merged,
            "settled": merger.journal.done,
            "points": [each.point.to_json() for each in merger.state.points],
            "problem": self._problem,
        }

    def wait_merged(self, sequence: int, deadline: Deadline) -> None:
        """Wait until a document is in the blobs. Raises DeadlineExceeded with the present problem."""
        wait_until(
            lambda: self._merger.state.merged >= sequence,
            deadline,
            f"merge of document {sequence}",
            every=0.1,
            explain=lambda: self._problem or f"merged through {self._merger.state.merged}",
        )

    def sources(self, point_id: str, seconds: float, deadline: Deadline) -> dict[str, BlobSource]:
        """Return where the disks of a point are read, by name: verified to be in the storage now.

        Raises:
            KeyError: there is no such point.
            StorageError: the storage does not answer.
            DeadlineExceeded: it had lost the point, and making it again takes too long.
        """
        found = self._find(point_id)
        while found is None or not self._verified():
            if self._merger.state.merged >= self._merger.journal.received and found is None:
                raise KeyError(point_id)
            if deadline.expired:
                raise DeadlineExceeded(f"recovery point {point_id} is not in the storage yet")
            self._stop.wait(0.1)
            found = self._find(point_id)
        disks = {disk.index: disk for disk in self._merger.settings.disks}
        return {
            disks[index].name: self._storage.source(disks[index].blob, snapshot, seconds)
            for index, snapshot in found.snapshots.items()
        }

    def forget_points(self, keep: str | None) -> None:
        """Remove all points but one. Raises StorageError."""
        with self._lock:
            self._merger.forget_points(keep)

    def _find(self, point_id: str) -> ReplicaPoint | None:
        return self._merger.state.find(point_id)

    def _verified(self) -> bool:
        with self._lock:
            return self._merger.verify()

    def _run(self) -> None:
        backoff = Backoff(self._stop)
        verify = Deadline.after(VERIFY_S)
        while not self._stop.is_set():
            try:
                worked = self._round()
                if verify.expired:
                    verify = Deadline.after(VERIFY_S)
                    self._verified()
            except Exception as error:  # noqa: BLE001 - what fails now may work again; it is all in the journal
                self._note(f"{type(error).__name__}: {error}")
                backoff.pause()
                continue
            self._note("")
            backoff.reset()
            if not worked:
                self._stop.wait(POLL_S)

    def _round(self) -> bool:
        """Do what there is to do once; return whether there was anything."""
        with self._lock:
            taken = self._merger.take()
        merged = False
        while not self._stop.is_set():
            with self._lock:
                if not self._merger.merge_next():
                    break
            merged = True
        with self._lock:
            self._merger.settle()
            self._merger.prune()
        return bool(taken) or merged

    def _note(self, problem: str) -> None:
        if problem != self._problem:
            log.warning("stream %s: %s", self._merger.settings.stream, problem or "works again")
        self._problem = problem
