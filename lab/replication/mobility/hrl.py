"""Changes that wait to be sent: ``<sequence>-<disk>.hrl`` files of data frames, one document for each sequence.

The files are in one directory, or each beside its disk (``HrlPlaces``).

``<sequence>.json`` is written last and says that the files are whole. A cut with many changes becomes several
documents, of which only the last carries the recovery point; without that last one the others never existed.
"""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from lab.replication.changeset import MAX_PAYLOAD, Buffer, Head, data_frame, end_frame, head_frame
from lab.replication.common.durable import commit_file, read_json, sync_directory, write_json
from lab.replication.common.link import Body
from lab.replication.mobility.capture import CapturedDisk
from lab.replication.mobility.hrl_files import HrlPlaces, PendingDocument
from lab.replication.mobility.losses import ChangesLost, SpoolFull

DOCUMENT_RAW = 16 << 20
"""So little that a cut is sent, passed on and applied at the same time, document by document."""
READ_SIZE = 1 << 20


class HrlQueue:
    """The documents of one stream that wait in ``directory``, oldest first; several threads may use it."""

    def __init__(self, directory: Path, quota: int, places: HrlPlaces | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self._places = places or HrlPlaces(directory)
        self._quota = quota
        self._lock = threading.Lock()
        self._pending: dict[int, PendingDocument] = {}

    def load(self) -> None:
        """Take up what an earlier run has left.

        Raises:
            ChangesLost: a file that should be there is not, or is not what it was.
        """
        found = [read_json(path) for path in sorted(self._directory.glob("[0-9]*.json"))]
        pending = [PendingDocument.from_json(value) for value in found if value]
        while pending and not pending[-1].closes_cut:
            self._delete(pending.pop())
        for before, after in itertools.pairwise(pending):
            if after.head.sequence != before.head.sequence + 1:
                raise ChangesLost(f"no document {before.head.sequence + 1} in the spool")
        for document in pending:
            self._check(document)
        self._drop_orphans()
        with self._lock:
            self._pending = {document.head.sequence: document for document in pending}

    def oldest(self) -> PendingDocument | None:
        """Return the document that has to be sent next."""
        with self._lock:
            return self._pending[min(self._pending)] if self._pending else None

    def last_sequence(self) -> int:
        """Return the newest sequence that waits, or 0."""
        with self._lock:
            return max(self._pending, default=0)

    @property
    def bytes_waiting(self) -> int:
        """How much room the files take."""
        with self._lock:
            return sum(sum(document.sizes.values()) for document in self._pending.values())

    def bytes_by_disk(self) -> dict[int, int]:
        """Return how much room the files of each disk take."""
        with self._lock:
            totals: dict[int, int] = {}
            for document in self._pending.values():
                for disk, size in document.sizes.items():
                    totals[disk] = totals.get(disk, 0) + size
            return totals

    def store(
        self,
        head: Head,
        changes: Iterator[tuple[int, int, Buffer]],
        disks: list[CapturedDisk],
        is_instant: Callable[[], bool],
    ) -> int:
        """Write ``(disk, offset, bytes)`` of one cut as documents from ``head.sequence`` on; durable on return.

        Returns:
            The sequence of the last document, which carries the recovery point if ``head`` has one and ``is_instant``
            says so after the last change.

        Raises:
            SpoolFull: the quota is used up; nothing of the cut was kept.
        """
        writer = _CutWriter(self._places, head, disks, self._quota - self.bytes_waiting)
        try:
            documents = writer.write(changes, is_instant)
        except BaseException:
            self._drop_orphans()
            raise
        for document in documents:
            write_json(self._meta(document.head.sequence), document.to_json())
        with self._lock:
            self._pending.update({document.head.sequence: document for document in documents})
        return documents[-1].head.sequence

    def body(self, document: PendingDocument) -> Body:
        """Return the whole document as it goes over the wire."""
        first = head_frame(document.head)
        last = end_frame(document.frames, document.raw_bytes)
        edges = sum(len(frame.header()) + len(frame.stored) for frame in (first, last))

        def parts() -> Iterator[Buffer]:
            yield first.header() + bytes(first.stored)
            for disk in document.sizes:
                with self._places.path(document.head.sequence, disk).open("rb", buffering=0) as file:
                    while block := file.read(READ_SIZE):
                        yield block
            yield last.header() + bytes(last.stored)

        return Body(parts, edges + sum(document.sizes.values()))

    def remove(self, document: PendingDocument) -> None:
        """Delete a document that has arrived."""
        with self._lock:
            self._pending.pop(document.head.sequence, None)
        self._delete(document)

    def clear(self) -> None:
        """Delete everything."""
        with self._lock:
            self._pending = {}
        for path in [*self._directory.glob("*.json"), *(path for _, path in self._places.found())]:
            path.unlink(missing_ok=True)

    def adopt(self, other: HrlQueue, first: int) -> int:
        """Take over all documents of ``other`` under sequences from ``first`` on; return the next free one."""
        sequence = first
        while (document := other.oldest()) is not None:
            moved = document.renumbered(sequence)
            for disk in document.sizes:
                commit_file(other._places.path(document.head.sequence, disk), self._places.path(sequence, disk))
            write_json(self._meta(sequence), moved.to_json())
            with self._lock:
                self._pending[sequence] = moved
            other.remove(document)
            sequence += 1
        return sequence

    def _check(self, document: PendingDocument) -> None:
        for disk, size in document.sizes.items():
            path = self._places.path(document.head.sequence, disk)
            if not path.exists() or path.stat().st_size != size:
                raise ChangesLost(f"{path.name} is missing or damaged")

    def _delete(self, document: PendingDocument) -> None:
        self._meta(document.head.sequence).unlink(missing_ok=True)
        for disk in document.sizes:
            self._places.path(document.head.sequence, disk).unlink(missing_ok=True)

    def _drop_orphans(self) -> None:
        for sequence, path in self._places.found():
            if not self._meta(sequence).exists():
                path.unlink()

    def _meta(self, sequence: int) -> Path:
        return self._directory / f"{sequence:012}.json"


class _CutWriter:
    """Writes the changes of one cut to files, a new document every ``DOCUMENT_RAW`` bytes."""

    def __init__(self, places: HrlPlaces, head: Head, disks: list[CapturedDisk], room: int) -> None:
        self._places = places
        self._head = head
        self._disks = [disk.index for disk in disks]
        self._room = room
        self._documents: list[PendingDocument] = []

    def write(
        self, changes: Iterator[tuple[int, int, Buffer]], is_instant: Callable[[], bool]
    ) -> list[PendingDocument]:
        more = True
        while more:
            more = self._write_document(changes)
        for folder in self._places.folders:
            sync_directory(folder)
        last = self._documents[-1]
        wanted = self._head.recovery_point is not None and is_instant()
        point = f"{last.head.stream}-{last.head.sequence}" if wanted else None
        self._documents[-1] = replace(last, head=replace(last.head, recovery_point=point), closes_cut=True)
        return self._documents

    def _write_document(self, changes: Iterator[tuple[int, int, Buffer]]) -> bool:
        """Write one document; return whether there may be more changes."""
        sequence = self._head.sequence + len(self._documents)
        paths = {disk: self._places.path(sequence, disk) for disk in self._disks}
        frames = raw = 0
        more = False
        with ExitStack() as stack:
            files = {disk: stack.enter_context(path.open("wb", READ_SIZE)) for disk, path in paths.items()}
            for disk, offset, data in changes:
                view = memoryview(data)
                for at in range(0, len(view), MAX_PAYLOAD):
                    frame = data_frame(disk, offset + at, view[at : at + MAX_PAYLOAD])
                    files[disk].write(frame.header())
                    files[disk].write(frame.stored)
                    frames += 1
                raw += len(view)
                self._spend(len(view))
                if raw >= DOCUMENT_RAW:
                    more = True
                    break
            for file in files.values():
                file.flush()
                os.fsync(file.fileno())
        sizes = {disk: path.stat().st_size for disk, path in paths.items()}
        head = replace(self._head, sequence=sequence, recovery_point=None)
        self._documents.append(PendingDocument(head, sizes, frames, raw, closes_cut=False))
        return more

    def _spend(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise SpoolFull("the changes that wait exceed the quota of the spool")
