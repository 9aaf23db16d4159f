"""What documents have overwritten, so that a disk can be taken back to an older recovery point.

There is one undo file for each applied document, itself a document: the old content of every extent. Applying the
files newest first, down to the one after a point, gives that point. Doing it twice, or beginning with files of
documents that a device has never seen, gives the same: the oldest file that touches a byte has the last word.
"""

from __future__ import annotations

import os
from pathlib import Path

from lab.replication.changeset import data_frame
from lab.replication.common.compression import Zstd
from lab.replication.common.durable import commit_file, sync_directory
from lab.replication.document import DocumentReader, DocumentWriter
from lab.replication.master_target.devices import DeviceSet


class UndoStore:
    """The undo files of one stream."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        for leftover in directory.glob("*.part"):
            leftover.unlink()

    def sequences(self) -> list[int]:
        """Return which documents can be undone, oldest first."""
        return sorted(int(path.stem) for path in self._directory.glob("*.undo"))

    def record(self, sequence: int, document: Path, devices: DeviceSet) -> None:
        """Save what ``document`` is about to overwrite; durable when this returns.

        A complete file is never written again: after a crash in the middle of applying, the device already has new
        content, and the old one is only here.
        """
        final = self._path(sequence)
        if final.exists():
            return
        part = final.with_suffix(".part")
        with document.open("rb") as source, part.open("wb") as sink:
            reader = DocumentReader(source)
            writer = DocumentWriter(sink, reader.head)
            for frame in reader.frames():
                old = devices[frame.disk].read(frame.offset, frame.raw_length)
                writer.add(data_frame(frame.disk, frame.offset, old))
            writer.end()
            sink.flush()
            os.fsync(sink.fileno())
        commit_file(part, final)

    def roll_back(self, devices: DeviceSet, point: int) -> int:
        """Undo all documents after ``point`` on ``devices`` (those it has); return how many that were."""
        newer = [sequence for sequence in reversed(self.sequences()) if sequence > point]
        for sequence in newer:
            with self._path(sequence).open("rb") as source:
                for frame in DocumentReader(source).frames():
                    if frame.disk in devices:
                        devices[frame.disk].write(frame.offset, frame.raw(Zstd()))
        devices.flush()
        return len(newer)

    def drop_after(self, point: int) -> None:
        """Delete the files of documents after ``point``, newest first: what a crash leaves is still a good log."""
        self._drop([sequence for sequence in reversed(self.sequences()) if sequence > point])

    def drop_through(self, point: int) -> None:
        """Delete the files that are needed only for points before ``point``."""
        self._drop([sequence for sequence in self.sequences() if sequence <= point])

    def _drop(self, sequences: list[int]) -> None:
        for sequence in sequences:
            self._path(sequence).unlink(missing_ok=True)
        if sequences:
            sync_directory(self._directory)

    def _path(self, sequence: int) -> Path:
        return self._directory / f"{sequence:012}.undo"
