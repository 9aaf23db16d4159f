"""Sending whole disks: everything that is not zero, or everything that differs from the replica."""

from __future__ import annotations

import mmap
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from lab.replication.changeset import Buffer, Frame, Head, data_frame, end_frame, head_frame
from lab.replication.common.link import Body
from lab.replication.digests import ChunkDigests
from lab.replication.extents import iter_nonzero_extents
from lab.replication.mobility.capture import CapturedDisk, DiskSource
from lab.replication.mobility.uplink import Outlet

READ_SIZE = 1 << 20
DOCUMENT_RAW = 16 << 20
CHUNK = 256 << 10
BATCH_CHUNKS = 256
BATCHES_AHEAD = 2


@dataclass
class Progress:
    """How far the copy is, in bytes of the disks."""

    done_bytes: int
    total_bytes: int
    sent_bytes: int


class Copier:
    """Copies disks as documents from sequence ``first`` on. ``head_of`` makes the head of a copy document.

    Each of ``rooms`` has memory for one document of ``document_bytes``: with two of them one is filled while the other
    is sent.
    """

    def __init__(
        self,
        source: DiskSource,
        disks: Sequence[CapturedDisk],
        outlet: Outlet,
        *,
        first: int,
        head_of: Callable[[int], Head],
        progressed: Callable[[Progress], None],
        document_bytes: int = DOCUMENT_RAW,
        rooms: int = 1,
    ) -> None:
        self._source = source
        self._disks = disks
        self._outlet = outlet
        self._head_of = head_of
        self._progressed = progressed
        self._progress = Progress(0, sum(disk.size for disk in disks), 0)
        self._frames: list[Frame] = []
        self._raw = 0
        self._document_bytes = document_bytes
        # Frames point into this memory until they are sent; page-aligned for direct reads.
        self._rooms = [memoryview(mmap.mmap(-1, document_bytes)) for _ in range(rooms)]
        self._used = 0
        self._under_way: deque[Future[None]] = deque()
        self.next_sequence = first

    def copy_everything(self) -> None:
        """Send all that is not zero: for a replica on new disks, which read as zeros.

        Raises:
            Interrupted: the stream was stopped or has to begin again.
            UploadRejected: the process server has lost documents.
        """
        with self._sending() as send:
            for disk in self._disks:
                for offset, content in self._read(disk, None, READ_SIZE):
                    kept = False
                    for start, data in iter_nonzero_extents(content, offset):
                        self._add(data_frame(disk.index, start, data))
                        kept = True
                    self._account(len(content), READ_SIZE if kept else 0, send)

    def copy_differences(self) -> None:
        """Compare digests of chunks with the replica and send those that differ.

        Raises:
            Interrupted: the stream was stopped or has to begin again.
            UploadRejected: the process server has lost documents.
        """
        with self._sending() as send:
            for disk in self._disks:
                for offset, content in self._read(disk, self._differing(disk), CHUNK):
                    self._add(data_frame(disk.index, offset, content))
                    self._account(0, CHUNK, send)

    def _differing(self, disk: CapturedDisk) -> list[int]:
        """Return the offsets of chunks that differ. One batch is compared over there while the next is read here."""
        differing: list[int] = []
        with ThreadPoolExecutor(1, thread_name_prefix="compare") as compare:
            asked: deque[Future[list[int]]] = deque()
            for first, digests in self._batches(disk):
                asked.append(compare.submit(self._outlet.differing, disk.index, CHUNK, first, digests))
                if len(asked) > BATCHES_AHEAD:
                    differing += asked.popleft().result()
            for answer in asked:
                differing += answer.result()
        return [index * CHUNK for index in differing]

    def _batches(self, disk: CapturedDisk) -> Iterator[tuple[int, bytes]]:
        """Yield the number of the first chunk of each batch, and the digests of the batch."""
        chunks = ChunkDigests(CHUNK)
        digests: list[bytes] = []
        first = 0
        for _, content in self._read(disk, range(0, disk.size, READ_SIZE), READ_SIZE):
            digests += [chunks.of(content[at : at + CHUNK]) for at in range(0, len(content), CHUNK)]
            self._progress.done_bytes += len(content)
            self._progressed(self._progress)
            if len(digests) >= BATCH_CHUNKS:
                yield first, b"".join(digests)
                first += len(digests)
                digests = []
        if digests:
            yield first, b"".join(digests)

    def _read(self, disk: CapturedDisk, offsets: Iterable[int] | None, length: int) -> Iterator[tuple[int, memoryview]]:
        """Yield the content at each offset (None: wherever it may not be zero).

        What should outlive the next one is kept by ``_account``.
        """
        reader = self._source.open_disk(disk)
        try:
            wanted = reader.offsets(length) if offsets is None else offsets
            for offset, content in reader.read_each(wanted, length, lambda: self._room(length)):
                expected = min(length, disk.size - offset)
                if len(content) < expected:
                    raise OSError(f"short read from {disk.device} at {offset}")
                yield offset, content[:expected]
        finally:
            reader.close()

    def _add(self, frame: Frame) -> None:
        self._frames.append(frame)
        self._raw += frame.raw_length

    def _room(self, length: int) -> memoryview:
        return self._rooms[0][self._used : self._used + length]

    def _account(self, read: int, kept: int, send: ThreadPoolExecutor) -> None:
        self._progress.done_bytes += read
        self._used += kept
        if self._used + READ_SIZE > self._document_bytes:
            self._send(send)
        self._progressed(self._progress)

    @contextmanager
    def _sending(self) -> Iterator[ThreadPoolExecutor]:
        """Yield the thread that sends, one document after the other; afterwards everything has arrived."""
        with ThreadPoolExecutor(1, thread_name_prefix="copy") as send:
            yield send
            self._send(send)
            while self._under_way:
                self._under_way.popleft().result()

    def _send(self, send: ThreadPoolExecutor) -> None:
        if not self._frames:
            return
        body = document_body(self._head_of(self.next_sequence), self._frames)
        self._under_way.append(send.submit(self._outlet.put, self.next_sequence, body))
        self.next_sequence += 1
        self._progress.sent_bytes += self._raw
        self._frames, self._raw, self._used = [], 0, 0
        self._rooms.append(self._rooms.pop(0))
        if len(self._under_way) == len(self._rooms):
            # What this room held before has to have arrived.
            self._under_way.popleft().result()


def document_body(head: Head, frames: list[Frame]) -> Body:
    """Return a document of ``frames`` as it goes over the wire."""
    last = end_frame(len(frames), sum(frame.raw_length for frame in frames))
    everything = [head_frame(head), *frames, last]

    def parts() -> Iterator[Buffer]:
        for frame in everything:
            yield frame.header()
            yield frame.stored

    return Body(parts, sum(len(frame.header()) + len(frame.stored) for frame in everything))
