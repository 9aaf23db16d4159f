"""A storage account that only remembers, and can be made to lose what it acknowledged: for tests, nothing else."""

from __future__ import annotations

import copy
import itertools
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from lab.replication.common.storage_access import StorageAccess
from lab.replication.vault.storage import MOST_WRITE, PAGE, BlobSource, StorageError, WentBack


@dataclass
class _Blob:
    content: bytearray
    etag: str
    snapshots: dict[str, bytes] = field(default_factory=dict)


@dataclass
class _Content:
    blobs: dict[str, _Blob] = field(default_factory=dict)
    logs: dict[str, dict[int, bytes]] = field(default_factory=dict)
    marks: dict[str, int] = field(default_factory=dict)


class MemoryStorage:
    """Implements ``storage.Storage``. ``save`` and ``lose`` are what a crash does: everything since is forgotten."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._now = _Content()
        self._saved = copy.deepcopy(self._now)
        self._numbers = itertools.count(1)
        self.down = False

    def save(self) -> None:
        """Let all that was acknowledged survive the next ``lose``."""
        with self._lock:
            self._saved = copy.deepcopy(self._now)

    def lose(self) -> None:
        """Go back to the last ``save``."""
        with self._lock:
            self._now = copy.deepcopy(self._saved)

    def close(self) -> None:
        """Do nothing."""

    def create(self, name: str, size: int) -> str:
        """Make a blob of zeros."""
        with self._lock:
            self._answer()
            self._now.blobs[name] = _Blob(bytearray(size), self._new())
            return self._now.blobs[name].etag

    def write(self, name: str, offset: int, data: bytes, etag: str) -> str:
        """Write whole pages. Raises WentBack."""
        with self._lock:
            blob = self._unchanged(name, etag)
            if offset % PAGE or len(data) % PAGE or not 0 < len(data) <= MOST_WRITE:
                raise StorageError(f"blob {name}: {len(data)} bytes at {offset} are no pages that can be written")
            blob.content[offset : offset + len(data)] = data
            blob.etag = self._new()
            return blob.etag

    def clear(self, name: str, offset: int, length: int, etag: str) -> str:
        """Make whole pages zero. Raises WentBack."""
        with self._lock:
            blob = self._unchanged(name, etag)
            blob.content[offset : offset + length] = bytes(length)
            blob.etag = self._new()
            return blob.etag

    def etag(self, name: str) -> str | None:
        """Return the present ETag."""
        with self._lock:
            self._answer()
            blob = self._now.blobs.get(name)
            return blob.etag if blob else None

    def snapshot(self, name: str, etag: str, metadata: Mapping[str, str]) -> str:  # noqa: ARG002 - nobody reads it
        """Keep the content as it is. Raises WentBack."""
        with self._lock:
            blob = self._unchanged(name, etag)
            number = self._new()
            blob.snapshots[number] = bytes(blob.content)
            return number

    def snapshots(self, name: str) -> frozenset[str]:
        """Return the ids of all snapshots."""
        with self._lock:
            self._answer()
            blob = self._now.blobs.get(name)
            return frozenset(blob.snapshots if blob else ())

    def restore(self, name: str, snapshot: str) -> str:
        """Copy a snapshot over its blob. Raises WentBack."""
        with self._lock:
            content = self.read(name, 0, -1, snapshot)
            blob = self._now.blobs[name]
            blob.content, blob.etag = bytearray(content), self._new()
            return blob.etag

    def read(self, name: str, offset: int, length: int, snapshot: str | None = None) -> bytes:
        """Return content; all of it for a ``length`` of -1. Raises WentBack."""
        with self._lock:
            self._answer()
            blob = self._now.blobs.get(name)
            if blob is None or (snapshot is not None and snapshot not in blob.snapshots):
                raise WentBack(f"blob {name} or its snapshot does not exist")
            content = blob.content if snapshot is None else blob.snapshots[snapshot]
            return bytes(content[offset:] if length < 0 else content[offset : offset + length])

    def delete_snapshot(self, name: str, snapshot: str) -> None:
        """Remove a snapshot, if it exists."""
        with self._lock:
            self._answer()
            if name in self._now.blobs:
                self._now.blobs[name].snapshots.pop(snapshot, None)

    def delete(self, name: str) -> None:
        """Remove a blob, if it exists."""
        with self._lock:
            self._answer()
            self._now.blobs.pop(name, None)

    def source(self, name: str, snapshot: str, seconds: float) -> BlobSource:  # noqa: ARG002 - it never ends
        """Return an address where nobody answers."""
        return BlobSource(f"https://192.0.2.2/{name}/{snapshot}", "sig=none", len(self.read(name, 0, -1, snapshot)))

    def open_stream(self, stream: str) -> None:
        """Make the container of a stream."""
        with self._lock:
            self._answer()
            self._now.logs.setdefault(stream, {})

    def access(self, stream: str, seconds: float) -> StorageAccess:
        """Return an address where nobody answers."""
        return StorageAccess(f"https://192.0.2.2/{stream}", "sig=none", time.time_ns() + int(seconds * 1e9))

    def upload(self, stream: str, sequence: int, content: bytes) -> None:
        """Put a log where a process server would."""
        with self._lock:
            self._answer()
            if stream not in self._now.logs:
                raise WentBack(f"container {stream} does not exist")
            self._now.logs[stream][sequence] = content

    def marked(self, stream: str) -> int:
        """Return what a process server reads: the last document that is kept."""
        with self._lock:
            return self._now.marks.get(stream, 0)

    def logs(self, stream: str) -> list[int]:
        """Return the numbers of the logs that are there. Raises WentBack."""
        with self._lock:
            self._answer()
            if stream not in self._now.logs:
                raise WentBack(f"container {stream} does not exist")
            return sorted(self._now.logs[stream])

    def fetch(self, stream: str, sequence: int, destination: Path) -> bool:
        """Write a log to a file, if it is there."""
        with self._lock:
            self._answer()
            content = self._now.logs.get(stream, {}).get(sequence)
        if content is None:
            return False
        destination.write_bytes(content)
        return True

    def forget(self, stream: str, sequence: int) -> None:
        """Remove a log, if it is there."""
        with self._lock:
            self._answer()
            self._now.logs.get(stream, {}).pop(sequence, None)

    def mark(self, stream: str, sequence: int) -> None:
        """Note the number of the last document that is kept."""
        with self._lock:
            self._answer()
            if stream not in self._now.logs:
                raise WentBack(f"container {stream} does not exist")
            self._now.marks[stream] = sequence

    def close_stream(self, stream: str) -> None:
        """Remove the container of a stream."""
        with self._lock:
            self._answer()
            self._now.logs.pop(stream, None)
            self._now.marks.pop(stream, None)

    def _new(self) -> str:
        return f"{next(self._numbers):08}"

    def _answer(self) -> None:
        if self.down:
            raise StorageError("the storage is down")

    def _unchanged(self, name: str, etag: str) -> _Blob:
        self._answer()
        blob = self._now.blobs.get(name)
        if blob is None or blob.etag != etag:
            raise WentBack(f"blob {name} is not what it was")
        return blob
