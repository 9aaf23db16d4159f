"""Change sets: the one format in which data moves, from an agent's ``.hrl`` file to a master target's undo log.

A document is a head frame, data frames, an end frame. A frame is a 40-byte little-endian header and a payload:

    magic "RCF1" | kind u8 (1 head, 2 data, 3 end) | encoding u8 (0 raw, 1 zstd) | disk u16 | offset u64 |
    raw_length u32 | stored_length u32 | crc32 u32 of the raw bytes | reserved 8 bytes, zero | crc32 u32 of the header

A payload has at most 1 MiB. The payload of the head frame is JSON (see ``Head``), that of the end frame is
``{"frames": n, "raw_bytes": n}``; both are raw. The header has a checksum of its own because a flipped bit in
``disk`` or ``offset`` would put good bytes in a bad place. An ``.hrl`` file is a sequence of data frames.
``document.py`` writes and reads whole documents.

Standard library only: an agent writes raw frames; who compresses brings a ``Codec``.
"""

from __future__ import annotations

import enum
import json
import struct
import zlib
from dataclasses import dataclass
from typing import Any, Protocol

from lab.replication.retention import CRASH_CONSISTENT, KINDS

Buffer = bytes | bytearray | memoryview

MAX_PAYLOAD = 1 << 20
_FIELDS = struct.Struct("<4sBBHQIII8x")
_CHECK = struct.Struct("<I")
_MAGIC = b"RCF1"
HEADER_SIZE = _FIELDS.size + _CHECK.size


class ChangeSetError(ValueError):
    """This is no change set that may be applied."""


class Truncated(ChangeSetError):
    """The bytes end before the document does."""


class Corrupt(ChangeSetError):
    """The bytes contradict themselves: a checksum, a length, a count, an order."""


class TooLarge(ChangeSetError):
    """A length is above the limit; nothing was allocated for it."""


class Kind(enum.IntEnum):
    """What a frame is."""

    HEAD = 1
    DATA = 2
    END = 3


class Encoding(enum.IntEnum):
    """How a payload is stored."""

    RAW = 0
    ZSTD = 1


class Codec(Protocol):
    """Compression of one payload."""

    def compress(self, raw: Buffer) -> bytes | None:
        """Return the compressed bytes, or None: they would hardly be fewer."""

    def decompress(self, stored: Buffer, raw_length: int) -> bytes:
        """Return exactly ``raw_length`` bytes, or raise ``Corrupt``; never allocate more."""


@dataclass(frozen=True)
class Disk:
    """A disk of the replicated machine; ``size`` in bytes."""

    index: int
    name: str
    size: int


@dataclass(frozen=True)
class CutTime:
    """When a cut was made: nanoseconds of the source's clock, and the same instant as text."""

    begin_ns: int
    end_ns: int
    time: str


@dataclass(frozen=True)
class Head:
    """What a document is: ``kind`` is ``copy`` or ``delta``; only what ends a cut has a recovery point.

    ``point_kind`` is that of the recovery point: ``crash-consistent`` or ``application-consistent``. ``shared`` is the
    id under which all members of a replication group have a point of this instant.
    """

    stream: str
    sequence: int
    kind: str
    machine: str
    disks: tuple[Disk, ...]
    cut: CutTime | None = None
    recovery_point: str | None = None
    point_kind: str = CRASH_CONSISTENT
    shared: str | None = None

    @property
    def is_copy(self) -> bool:
        """Whether this is a part of a copy, and ends no cut."""
        return self.kind == "copy" and self.recovery_point is None

    def to_json(self) -> dict[str, Any]:
        """Return the head as the JSON object of the wire."""
        return {
            "stream": self.stream,
            "sequence": self.sequence,
            "kind": self.kind,
            "machine": self.machine,
            "disks": [vars(disk) for disk in self.disks],
            "cut": vars(self.cut) if self.cut else None,
            "recovery_point": self.recovery_point,
            "point_kind": self.point_kind,
            "shared": self.shared,
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Head:
        """Read the JSON object of the wire.

        Raises:
            Corrupt: something is missing or has the wrong type.
        """
        try:
            cut = value["cut"]
            point = value["recovery_point"]
            head = cls(
                stream=str(value["stream"]),
                sequence=int(value["sequence"]),
                kind=str(value["kind"]),
                machine=str(value["machine"]),
                disks=tuple(Disk(int(d["index"]), str(d["name"]), int(d["size"])) for d in value["disks"]),
                cut=CutTime(int(cut["begin_ns"]), int(cut["end_ns"]), str(cut["time"])) if cut else None,
                recovery_point=None if point is None else str(point),
                point_kind=str(value.get("point_kind", CRASH_CONSISTENT)),
                shared=None if value.get("shared") is None else str(value["shared"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise Corrupt(f"bad head frame: {error!r}") from error
        if head.kind not in ("copy", "delta"):
            raise Corrupt(f"unknown kind of document {head.kind!r}")
        if head.point_kind not in KINDS:
            raise Corrupt(f"unknown kind of recovery point {head.point_kind!r}")
        return head


@dataclass(frozen=True)
class Frame:
    """A frame as it is stored; ``stored`` is the payload in its encoding."""

    kind: Kind
    encoding: Encoding
    disk: int
    offset: int
    raw_length: int
    crc32: int
    stored: Buffer

    def header(self) -> bytes:
        """Return the 40 bytes that go before the payload."""
        fields = _FIELDS.pack(
            _MAGIC, self.kind, self.encoding, self.disk, self.offset, self.raw_length, len(self.stored), self.crc32
        )
        return fields + _CHECK.pack(zlib.crc32(fields))

    def raw(self, codec: Codec | None = None) -> Buffer:
        """Return the raw payload.

        Raises:
            Corrupt: the bytes do not have the checksum or length that the header promises, or nobody can decode them.
        """
        raw = self.stored
        if self.encoding is Encoding.ZSTD:
            if codec is None:
                raise Corrupt("compressed frame where none is allowed")
            raw = codec.decompress(self.stored, self.raw_length)
        if len(raw) != self.raw_length or zlib.crc32(raw) != self.crc32:
            raise Corrupt(f"checksum of disk {self.disk} offset {self.offset} does not match")
        return raw

    def compressed(self, codec: Codec) -> Frame:
        """Return the same data compressed, or this frame if that does not make it smaller."""
        if self.encoding is not Encoding.RAW or not self.stored:
            return self
        smaller = codec.compress(self.stored)
        if smaller is None or len(smaller) >= self.raw_length:
            return self
        return Frame(self.kind, Encoding.ZSTD, self.disk, self.offset, self.raw_length, self.crc32, smaller)


def _raw_frame(kind: Kind, payload: Buffer, disk: int = 0, offset: int = 0) -> Frame:
    if len(payload) > MAX_PAYLOAD:
        raise TooLarge(f"payload of {len(payload)} bytes")
    return Frame(kind, Encoding.RAW, disk, offset, len(payload), zlib.crc32(payload), payload)


def head_frame(head: Head) -> Frame:
    """Return the frame that begins a document."""
    return _raw_frame(Kind.HEAD, json.dumps(head.to_json()).encode())


def data_frame(disk: int, offset: int, payload: Buffer) -> Frame:
    """Return a raw data frame.

    Raises:
        TooLarge: the payload has more than 1 MiB.
    """
    return _raw_frame(Kind.DATA, payload, disk, offset)


def end_frame(frames: int, raw_bytes: int) -> Frame:
    """Return the frame that ends a document of so many data frames and raw bytes."""
    return _raw_frame(Kind.END, json.dumps({"frames": frames, "raw_bytes": raw_bytes}).encode())


def frame_size(payload: int) -> int:
    """Return how many bytes a raw frame with so much payload takes."""
    return HEADER_SIZE + payload


class Source(Protocol):
    """Where a document is read from."""

    def read(self, size: int, /) -> Buffer:
        """Return ``size`` bytes, fewer only at the end."""


def read_frame(source: Source) -> Frame | None:
    """Read one frame; return None at the end of the file.

    Raises:
        Truncated: the file ends inside the frame.
        Corrupt: the header is not one, or not the one that was written.
        TooLarge: a length is above 1 MiB.
    """
    header = source.read(HEADER_SIZE)
    if not header:
        return None
    if len(header) < HEADER_SIZE:
        raise Truncated("the header of a frame is cut short")
    magic, kind, encoding, disk, offset, raw_length, stored_length, crc32 = _FIELDS.unpack_from(header)
    if magic != _MAGIC or _CHECK.unpack_from(header, _FIELDS.size)[0] != zlib.crc32(header[: _FIELDS.size]):
        raise Corrupt("not the header of a frame")
    if max(raw_length, stored_length) > MAX_PAYLOAD:
        raise TooLarge(f"a frame claims {max(raw_length, stored_length)} bytes")
    try:
        known_kind, known_encoding = Kind(kind), Encoding(encoding)
    except ValueError as error:
        raise Corrupt(str(error)) from error
    if known_encoding is Encoding.RAW and raw_length != stored_length:
        raise Corrupt("a raw frame with two lengths")
    stored = source.read(stored_length)
    if len(stored) < stored_length:
        raise Truncated("the payload of a frame is cut short")
    return Frame(known_kind, known_encoding, disk, offset, raw_length, crc32, stored)
