"""A document is checked and compressed while it comes in, wherever its pieces end."""

from __future__ import annotations

import io
import os
import struct

import pytest

from lab.replication import changeset as cs
from lab.replication.common.compression import Zstd
from lab.replication.common.ingest import keep_as_it_comes
from lab.replication.common.optimised import OptimisedOnArrival
from lab.replication.document import DocumentReader, DocumentWriter, verify_document
from lab.replication.mobility.write_log import END_MARK, MAGIC, MARK, VERSION, read_entries

WRITES = [(4096 * place, os.urandom(3000) + bytes(5000)) for place in range(0, 40, 4)]


def document() -> bytes:
    sink = io.BytesIO()
    writer = DocumentWriter(sink, cs.Head("s", 1, "delta", "app1", (cs.Disk(0, "vda", 1 << 20),)))
    for offset, data in WRITES:
        writer.add(cs.data_frame(0, offset, data))
    writer.end()
    return sink.getvalue()


def pieces(data: bytes, size: int):
    """One buffer is used again for every piece, as a body does."""
    room = bytearray(size)
    for at in range(0, len(data), size):
        part = data[at : at + size]
        room[: len(part)] = part
        yield memoryview(room)[: len(part)]


def content(stored: bytes) -> list[tuple[int, bytes]]:
    frames = DocumentReader(io.BytesIO(stored)).frames()
    return [(frame.offset, bytes(frame.raw(Zstd()))) for frame in frames]


@pytest.mark.parametrize("size", [1, 7, 39, 41, 8000, 8080, 1 << 20])
def test_what_arrives_in_pieces_is_kept_whole(size: int) -> None:
    good = document()
    as_it_came, smaller = io.BytesIO(), io.BytesIO()
    assert keep_as_it_comes(pieces(good, size), as_it_came).sequence == 1
    arrived = OptimisedOnArrival(pieces(good, size), smaller)
    assert as_it_came.getvalue() == good
    assert content(smaller.getvalue()) == WRITES
    verify_document(io.BytesIO(smaller.getvalue()), Zstd())
    assert arrived.wire_bytes == len(smaller.getvalue()) < len(good)
    assert arrived.raw_bytes == sum(len(data) for _, data in WRITES)
    assert 0 < arrived.received_ns <= arrived.optimised_ns


@pytest.mark.parametrize("size", [41, 1 << 20])
def test_what_arrives_damaged_is_refused(size: int) -> None:
    good = document()
    for bad in (good[:-1], good + b"x", good[:-200] + bytes([good[-200] ^ 1]) + good[-199:], b""):
        for keep in (keep_as_it_comes, OptimisedOnArrival):
            with pytest.raises(cs.ChangeSetError):
                keep(pieces(bad, size), io.BytesIO())


def test_headers_of_a_log_are_read_without_what_is_between_them(tmp_path, monkeypatch) -> None:
    log, writes = tmp_path / "log", 50
    header = struct.Struct("<QQQQ480x")
    with log.open("wb") as file:
        file.write(struct.pack("<QQQI", MAGIC, VERSION, writes + 1, 512).ljust(512, b"\0"))
        for number in range(writes):
            file.write(header.pack(number * 128, 128, 0, 0) + bytes(128 * 512))
        file.write(struct.pack("<QQQQ", 0, 0, MARK, len(END_MARK)) + END_MARK.ljust(480, b"\0"))
    sizes: list[int] = []
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, at: sizes.append(length) or pread(fd, length, at))
    with log.open("rb") as file:
        assert len(read_entries(file.fileno())) == writes
    assert sum(sizes) <= 512 * (writes + 2)
