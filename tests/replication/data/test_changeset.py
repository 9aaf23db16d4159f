from __future__ import annotations

import contextlib
import io

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.replication import changeset as cs
from lab.replication import document, extents
from lab.replication.common.compression import Zstd

DISK_SIZE = 1 << 22
HEAD = cs.Head(
    stream="s-1",
    sequence=7,
    kind="delta",
    machine="app1",
    disks=(cs.Disk(0, "vda", DISK_SIZE), cs.Disk(1, "vdb", DISK_SIZE)),
    cut=cs.CutTime(1, 2, "2026-01-01T00:00:00Z"),
    recovery_point="s-1-7",
)
write_lists = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, DISK_SIZE - 4096), st.binary(max_size=4096)), max_size=6
)
quick = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def written(writes: list[tuple[int, int, bytes]], *, compress: bool = False) -> bytes:
    sink = io.BytesIO()
    writer = document.DocumentWriter(sink, HEAD)
    for disk, offset, data in writes:
        frame = cs.data_frame(disk, offset, data)
        writer.add(frame.compressed(Zstd()) if compress else frame)
    writer.end()
    return sink.getvalue()


def parse(data: bytes) -> list[tuple[int, int, bytes]]:
    reader = document.DocumentReader(io.BytesIO(data))
    assert reader.head == HEAD
    return [(f.disk, f.offset, bytes(f.raw(Zstd()))) for f in reader.frames()]


@quick
@given(write_lists, st.booleans())
def test_round_trip_is_the_same_with_and_without_compression(writes, compress):
    assert parse(written(writes, compress=compress)) == writes


@quick
@given(write_lists, st.data())
def test_every_truncation_is_detected(writes, data):
    whole = written(writes)
    with pytest.raises(cs.ChangeSetError):
        parse(whole[: data.draw(st.integers(0, len(whole) - 1))])


@quick
@given(write_lists, st.data())
def test_every_flipped_bit_of_a_raw_document_is_detected(writes, data):
    damaged = bytearray(written(writes))
    bit = data.draw(st.integers(0, len(damaged) * 8 - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(cs.ChangeSetError):
        parse(bytes(damaged))


@quick
@given(write_lists, st.data())
def test_a_flipped_bit_of_a_compressed_document_never_gives_other_data(writes, data):
    damaged = bytearray(written([(d, o, b * 20) for d, o, b in writes if o < 1 << 20], compress=True))
    undamaged = parse(bytes(damaged))
    bit = data.draw(st.integers(0, len(damaged) * 8 - 1))
    damaged[bit // 8] ^= 1 << bit % 8
    with contextlib.suppress(cs.ChangeSetError):
        assert parse(bytes(damaged)) == undamaged


def test_compression_shrinks_what_can_shrink_and_keeps_the_rest():
    zeros = cs.data_frame(0, 0, bytes(65536)).compressed(Zstd())
    assert zeros.encoding is cs.Encoding.ZSTD
    assert len(zeros.stored) < 100
    tiny = cs.data_frame(0, 0, b"abc")
    assert tiny.compressed(Zstd()) is tiny


def test_header_is_forty_bytes():
    assert cs.HEADER_SIZE == len(cs.data_frame(0, 0, b"x").header()) == 40


def test_large_claims_are_refused_before_anything_is_read():
    import struct
    import zlib

    fields = struct.pack("<4sBBHQIII8x", b"RCF1", 2, 0, 0, 0, 1 << 30, 1 << 30, 0)
    source = io.BytesIO(fields + struct.pack("<I", zlib.crc32(fields)))
    with pytest.raises(cs.TooLarge):
        cs.read_frame(source)
    with pytest.raises(cs.TooLarge):
        cs.data_frame(0, 0, bytes(cs.MAX_PAYLOAD + 1))


def test_a_compressed_frame_that_claims_another_length_is_corrupt():
    good = cs.data_frame(0, 0, bytes(4096)).compressed(Zstd())
    with pytest.raises(cs.Corrupt):
        Zstd().decompress(good.stored, 4095)
    with pytest.raises(cs.Corrupt):
        good.raw(None)


@pytest.mark.parametrize("disk_and_offset", [(2, 0), (0, DISK_SIZE - 1), (1, 1 << 63)])
def test_frames_outside_the_disks_are_corrupt(disk_and_offset):
    with pytest.raises(cs.Corrupt):
        parse(written([(*disk_and_offset, b"xy")]))


def test_bytes_after_the_end_are_corrupt():
    with pytest.raises(cs.Corrupt):
        parse(written([]) + b"\0")


@quick
@given(st.lists(st.sampled_from([0, 1]), max_size=40), st.integers(0, 65535), st.integers(0, 1 << 40))
def test_nonzero_extents_cover_all_that_is_not_zero(pattern, tail, offset):
    content = b"".join(bytes(extents.ZERO_BLOCK) if not p else b"\0" * 65535 + b"x" for p in pattern) + b"y" * tail
    rebuilt = bytearray(len(content))
    last = -1
    for start, data in extents.iter_nonzero_extents(bytearray(content), offset):
        assert 0 < len(data) <= cs.MAX_PAYLOAD
        assert start > last
        last = start
        rebuilt[start - offset : start - offset + len(data)] = data
    assert bytes(rebuilt) == content
    assert not list(extents.iter_nonzero_extents(bytes(1 << 20), 0))
