"""What documents have overwritten, so that a disk can be taken back to an older recovery point.

There is one undo file for each applied document, itself a document: the old content of every extent. Applying the
files newest first, down to the one after a point, gives that point. Doing it twice, or beginning with files of
documents that a device has never seen, gives the same: the oldest file that touches a byte has the last word.

Files that no point stands between are merged into one, under the number of the newest of them: of every byte the
content from the oldest file that has it. The merged file takes the place of the newest in one step. Files that a
crash leaves beside it do no harm, because applied after it they write the same bytes again.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from lab.replication.changeset import Head, data_frame
from lab.replication.common.compression import Zstd
from lab.replication.common.durable import commit_file, sync_directory
from lab.replication.document import DocumentReader, DocumentWriter
from lab.replication.master_target.coverage import Coverage
from lab.replication.master_target.devices import DeviceSet


def runs(sequences: Sequence[int], points: Sequence[int]) -> list[list[int]]:
    """Return the undo files, oldest first, that can become one: more than one, with a point after and none between.

    Args:
        sequences: the numbers of the files, ascending.
        points: the documents after which there is a recovery point, ascending.
    """
    between = [
        [sequence for sequence in sequences if older < sequence <= newer] for older, newer in itertools.pairwise(points)
    ]
    return [run for run in between if len(run) > 1]


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
            for disk, frames in itertools.groupby(reader.frames(), key=lambda frame: frame.disk):
                for offset, old in devices[disk].read_each((frame.offset, frame.raw_length) for frame in frames):
                    writer.add(data_frame(disk, offset, old))
            writer.end()
            sink.flush()
            os.fsync(sink.fileno())
            # Hardly ever read again: the memory is better used for the replica disks, which are.
            os.posix_fadvise(sink.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
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

    def merge(self, run: Sequence[int], stopped: Callable[[], bool]) -> Path | None:
        """Write what the files of ``run`` (oldest first) say together to a new file, durably, and return it.

        Nothing else changes, so this may go on beside everything else. None: ``stopped``, or one of them is gone.
        """
        part = self._path(run[-1]).with_suffix(".merge.part")
        try:
            complete = self._write_merged(part, run, stopped)
        except FileNotFoundError:
            complete = False
        except BaseException:
            # On a full disk the unfinished file itself may be what is in the way.
            part.unlink(missing_ok=True)
            raise
        if not complete:
            part.unlink(missing_ok=True)
        return part if complete else None

    def adopt(self, run: Sequence[int], part: Path) -> None:
        """Put a merged file in the place of its run, unless the run has changed since (a roll, a pruning)."""
        if not all(self._path(sequence).exists() for sequence in run):
            part.unlink(missing_ok=True)
            return
        commit_file(part, self._path(run[-1]))
        self._drop(list(run[:-1]))

    def _write_merged(self, part: Path, run: Sequence[int], stopped: Callable[[], bool]) -> bool:
        with part.open("wb") as sink:
            writer = DocumentWriter(sink, self._head(run[-1]))
            covered: dict[int, Coverage] = {}
            for sequence in run:
                if stopped():
                    return False
                self._add_uncovered(writer, sequence, covered)
            writer.end()
            sink.flush()
            os.fsync(sink.fileno())
        return True

    def _head(self, sequence: int) -> Head:
        with self._path(sequence).open("rb") as source:
            return DocumentReader(source).head

    def _add_uncovered(self, writer: DocumentWriter, sequence: int, covered: dict[int, Coverage]) -> None:
        with self._path(sequence).open("rb") as source:
            for frame in DocumentReader(source).frames():
                raw = memoryview(frame.raw(Zstd()))
                known = covered.setdefault(frame.disk, Coverage())
                for start, end in known.add(frame.offset, frame.offset + frame.raw_length):
                    piece = raw[start - frame.offset : end - frame.offset]
                    writer.add(data_frame(frame.disk, start, piece))

    def _drop(self, sequences: list[int]) -> None:
        for sequence in sequences:
            self._path(sequence).unlink(missing_ok=True)
        if sequences:
            sync_directory(self._directory)

    def _path(self, sequence: int) -> Path:
        return self._directory / f"{sequence:012}.undo"
