"""Disks that QEMU serves over NBD on a unix socket, read and written with libnbd (Debian's ``python3-libnbd``)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.replication.changeset import Buffer
from lab.replication.master_target.devices import BadDevice

ALLOCATION = "base:allocation"
ZERO, DIRTY = 2, 1
MOST_STATUS = 1 << 30
"""So many bytes one question about blocks is about."""
REQUEST = 4 << 20


@dataclass(frozen=True)
class Area:
    """Bytes ``start`` to ``end`` of a disk."""

    start: int
    end: int


def dirty_bitmap(name: str) -> str:
    """Return what QEMU calls a bitmap among the metadata of an export."""
    return f"qemu:dirty-bitmap:{name}"


class NbdDisk:
    """An open export; threads take turns. ``contexts`` are the metadata that will be asked for.

    Raises:
        BadDevice: nobody serves it, or not with this metadata.
    """

    def __init__(self, socket: Path, export: str, contexts: Sequence[str] = (ALLOCATION,)) -> None:
        import nbd  # comes with Debian's Python, and only hosts need it

        self._library: Any = nbd
        self._lock = threading.Lock()
        self._name = export or str(socket)
        self._handle: Any = nbd.NBD()
        self._handle.set_export_name(export)
        for context in contexts:
            self._handle.add_meta_context(context)
        try:
            self._handle.connect_unix(str(socket))
        except nbd.Error as error:
            raise BadDevice(f"{self._name}: {error}") from error
        missing = [context for context in contexts if not self._handle.can_meta_context(context)]
        if missing:
            self._handle.shutdown()
            raise BadDevice(f"{self._name}: no {missing[0]}")
        self.size = int(self._handle.get_size())

    def areas(self, context: str) -> Iterator[Area]:
        """Yield what a bitmap calls dirty, or what ``ALLOCATION`` does not call zero; neighbours are merged."""
        wanted = self._is_data if context == ALLOCATION else self._is_dirty
        start: int | None = None
        at = 0
        while at < self.size:
            for length, flags in self._status(context, at):
                if wanted(flags):
                    start = at if start is None else start
                elif start is not None:
                    yield Area(start, at)
                    start = None
                at += length
        if start is not None:
            yield Area(start, self.size)

    def read(self, offset: int, length: int) -> bytearray:
        """Return exactly ``length`` bytes. Raises BadDevice."""
        with self._lock:
            try:
                content: bytearray = self._handle.pread(length, offset)
            except self._library.Error as error:
                raise BadDevice(f"{self._name} at {offset}: {error}") from error
        return content

    def write(self, offset: int, data: Buffer) -> None:
        """Write all of ``data``. Raises BadDevice."""
        view = memoryview(data)
        with self._lock:
            try:
                for at in range(0, len(view), REQUEST):
                    self._handle.pwrite(view[at : at + REQUEST], offset + at)
            except self._library.Error as error:
                raise BadDevice(f"{self._name} at {offset}: {error}") from error

    def flush(self) -> None:
        """Make every write durable. Raises BadDevice."""
        with self._lock:
            try:
                self._handle.flush()
            except self._library.Error as error:
                raise BadDevice(f"{self._name}: {error}") from error

    def close(self) -> None:
        """End the connection."""
        with self._lock:
            try:
                self._handle.shutdown()
            except self._library.Error:
                # The server has gone first: there is nothing left to end.
                return

    def _status(self, context: str, at: int) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []

        def take(name: str, _offset: int, entries: list[int], _error: Any) -> int:
            if name == context:
                found.extend(zip(entries[::2], entries[1::2], strict=True))
            return 0

        with self._lock:
            try:
                self._handle.block_status(min(MOST_STATUS, self.size - at), at, take)
            except self._library.Error as error:
                raise BadDevice(f"{self._name} at {at}: {error}") from error
        if not found:
            raise BadDevice(f"{self._name}: nothing is said about {context} at {at}")
        return found

    @staticmethod
    def _is_data(flags: int) -> bool:
        return not flags & ZERO

    @staticmethod
    def _is_dirty(flags: int) -> bool:
        return bool(flags & DIRTY)
