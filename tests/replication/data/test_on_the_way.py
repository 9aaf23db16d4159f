"""Documents on their way out of a host: read part by part, compressed where it gains something, copied while read."""

from __future__ import annotations

import io
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.replication import changeset as cs
from lab.replication.common.arriving import Arriving
from lab.replication.common.body import Body as ReceivedBody
from lab.replication.common.compression import SAMPLED_FROM, Zstd
from lab.replication.common.link import _chunked
from lab.replication.common.optimised import Optimised
from lab.replication.document import DocumentReader
from lab.replication.mobility.capture import CapturedDisk
from lab.replication.mobility.copier import Copier, document_body
from lab.replication.mobility.uplink import UploadRejected

MIB = 1 << 20


@given(st.lists(st.binary(max_size=20), max_size=20), st.lists(st.integers(1, 30), min_size=1, max_size=40))
def test_parts_are_read_like_a_file(parts, sizes):
    found, expected = Arriving(iter(parts)), io.BytesIO(b"".join(parts))
    for size in sizes:
        assert bytes(found.read(size)) == expected.read(size)


def test_a_part_that_is_what_is_asked_for_is_not_copied():
    part = memoryview(bytes(100))
    assert Arriving(iter([part])).read(100) is part


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_chunks_are_read_as_they_were_sent(parts):
    body = ReceivedBody(io.BytesIO(b"".join(_chunked(parts))), None)
    assert body.read(1000) == b"".join(parts)
    assert body.at_end


@given(st.binary(min_size=1, max_size=200), st.lists(st.integers(0, 50), max_size=8))
def test_a_body_gives_exactly_what_is_asked_for_and_takes_it_back(content, sizes):
    body = ReceivedBody(io.BytesIO(b"".join(_chunked([content[:7], content[7:]]))), None)
    taken = b"".join(body.exactly(size) for size in sizes)
    assert taken == content[: sum(sizes)]
    body.put_back(taken)
    assert body.read(1000) == content


def test_only_what_gains_something_is_compressed():
    codec = Zstd()
    noise, text = os.urandom(MIB), b"what is written here " * (MIB // 21)
    assert codec.compress(noise) is None
    for content in (text, noise[: MIB // 2] + text[: MIB // 2], bytes(MIB), noise[: SAMPLED_FROM // 2]):
        smaller = codec.compress(content)
        assert smaller is not None
        assert codec.decompress(smaller, len(content)) == content


def test_a_document_arrives_whole_whatever_is_compressed():
    contents = [os.urandom(MIB), bytes(MIB), b"text" * 1000, os.urandom(700), b"x" * (300 << 10)]
    frames = [cs.data_frame(0, number * MIB, content) for number, content in enumerate(contents)]
    body = document_body(cs.Head("s-1", 1, "copy", "app1", (cs.Disk(0, "vda", 8 * MIB),)), frames)
    document = Optimised(lambda: Arriving(iter(body.parts())))
    for _ in range(2):
        wire = b"".join(bytes(part) for part in document.parts())
        assert len(wire) == document.wire_bytes < MIB + (64 << 10)
        reader = DocumentReader(io.BytesIO(wire))
        assert [bytes(frame.raw(Zstd())) for frame in reader.frames()] == contents


class Disks:
    """A disk of 5 MiB, each of which is another letter."""

    disk = CapturedDisk(0, "vda", Path("/disk"), 5 * MIB)
    broken = False

    def open_disk(self, _disk):
        return self

    def offsets(self, length):
        return range(0, self.disk.size, length)

    def read_each(self, offsets, length, room):
        for offset in offsets:
            if self.broken and offset == 3 * MIB:
                raise OSError("unreadable")
            piece = room()[:length]
            piece[:] = bytes([65 + offset // MIB]) * len(piece)
            yield offset, piece

    def close(self):
        pass


class Outlet:
    """Reads a document late: by then the next one was read."""

    def __init__(self):
        self.late = threading.Event()
        self.sent = {}
        self.refuse = None

    def put(self, sequence, body):
        self.late.wait(0.2)
        if sequence == self.refuse:
            raise UploadRejected("no")
        reader = DocumentReader(io.BytesIO(b"".join(bytes(part) for part in body.parts())))
        self.sent[sequence] = b"".join(bytes(frame.raw()[:1]) for frame in reader.frames())


def copier(source, outlet, rooms):
    head = lambda sequence: cs.Head("s-1", sequence, "copy", "app1", (cs.Disk(0, "vda", 5 * MIB),))  # noqa: E731
    more = {"progressed": lambda _: None, "document_bytes": 2 * MIB, "rooms": rooms}
    return Copier(source, [source.disk], outlet, first=4, head_of=head, **more)


@pytest.mark.parametrize("rooms", [1, 2, 3])
def test_a_document_stays_what_it_is_while_the_next_one_is_read(rooms):
    outlet = Outlet()
    made = copier(Disks(), outlet, rooms)
    made.copy_everything()
    assert outlet.sent == {4: b"AB", 5: b"CD", 6: b"E"}
    assert made.next_sequence == 7


@pytest.mark.parametrize("rooms", [1, 2])
@pytest.mark.parametrize("sequence", [4, 6])
def test_a_document_that_is_refused_ends_the_copy(rooms, sequence):
    outlet = Outlet()
    outlet.refuse = sequence
    with pytest.raises(UploadRejected):
        copier(Disks(), outlet, rooms).copy_everything()


def test_a_disk_that_cannot_be_read_ends_the_copy_once_nothing_is_under_way():
    source, outlet = Disks(), Outlet()
    source.broken = True
    with pytest.raises(OSError, match="unreadable"):
        copier(source, outlet, 2).copy_everything()
    assert outlet.sent == {4: b"AB"}
