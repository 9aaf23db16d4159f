"""Whole change-set documents: written frame by frame, read strictly. The format is in ``changeset.py``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, BinaryIO

from lab.replication.changeset import (
    ChangeSetError,
    Codec,
    Corrupt,
    Frame,
    Head,
    Kind,
    Source,
    Truncated,
    end_frame,
    head_frame,
    read_frame,
)


class DocumentWriter:
    """Writes a document: the head at once, then ``add`` for each data frame, then ``end``."""

    def __init__(self, sink: BinaryIO, head: Head) -> None:
        self._sink = sink
        self.frames = 0
        self.raw_bytes = 0
        self._write(head_frame(head))

    def add(self, frame: Frame) -> None:
        """Write a data frame."""
        self._write(frame)
        self.frames += 1
        self.raw_bytes += frame.raw_length

    def end(self) -> None:
        """Write the end frame."""
        self._write(end_frame(self.frames, self.raw_bytes))

    def _write(self, frame: Frame) -> None:
        self._sink.write(frame.header())
        self._sink.write(frame.stored)


class DocumentReader:
    """Reads a document strictly; the head is read at once.

    Args:
        source: a file at the start of the document; the document has to be all of it.

    Raises:
        ChangeSetError: it does not begin with a good head frame.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.head = Head.from_json(self._object(self._expect(Kind.HEAD)))
        self._sizes = {disk.index: disk.size for disk in self.head.disks}
        self.frame_count = 0
        self.raw_bytes = 0

    def frames(self) -> Iterator[Frame]:
        """Yield the data frames; when this ends normally the document was complete and nothing follows it.

        Payloads are not checked here: that happens in ``Frame.raw``, which not everybody needs.

        Raises:
            ChangeSetError: the document is damaged, incomplete, or leaves its disks.
        """
        while True:
            frame = self._next()
            if frame.kind is Kind.END:
                break
            if frame.kind is not Kind.DATA:
                raise Corrupt("a second head frame")
            if frame.offset + frame.raw_length > self._sizes.get(frame.disk, -1):
                raise Corrupt(f"disk {frame.disk} has no bytes at {frame.offset}")
            self.frame_count += 1
            self.raw_bytes += frame.raw_length
            yield frame
        total = self._object(frame)
        if total != {"frames": self.frame_count, "raw_bytes": self.raw_bytes}:
            raise Corrupt(f"the end frame says {total}, read {self.frame_count} frames, {self.raw_bytes} bytes")
        if self._source.read(1):
            raise Corrupt("bytes after the end frame")

    def _next(self) -> Frame:
        frame = read_frame(self._source)
        if frame is None:
            raise Truncated("the document has no end frame")
        return frame

    def _expect(self, kind: Kind) -> Frame:
        frame = self._next()
        if frame.kind is not kind:
            raise Corrupt(f"expected a {kind.name} frame, found {frame.kind.name}")
        return frame

    @staticmethod
    def _object(frame: Frame) -> dict[str, Any]:
        try:
            value = json.loads(bytes(frame.raw()))
        except ValueError as error:
            if isinstance(error, ChangeSetError):
                raise
            raise Corrupt(f"a {frame.kind.name} frame without JSON") from error
        if not isinstance(value, dict):
            raise Corrupt(f"a {frame.kind.name} frame without an object")
        return value


def verify_document(source: BinaryIO, codec: Codec | None) -> DocumentReader:
    """Read a whole document and check every payload.

    Returns:
        The reader at its end: head, number of frames and raw bytes.

    Raises:
        ChangeSetError: it may not be applied.
    """
    reader = DocumentReader(source)
    for frame in reader.frames():
        frame.raw(codec)
    return reader
