"""The reader of write logs against a slow model: a disk as a list of sectors, written one after the other."""

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from write_log_encoder import DISCARD, END, FLUSH, FUA, Mark, Write, encode

from lab.replication.mobility.write_log import (
    BrokenLog,
    Entry,
    LogOverflow,
    Survivor,
    read_entries,
    read_part,
    survivors,
)

DISK_SECTORS = 24
SECTOR_SIZES = st.sampled_from([512, 4096])
FLAGS = st.sampled_from([0, 0, 0, FUA, FUA, FLUSH, FLUSH | FUA, DISCARD])


@contextmanager
def log_file(content: bytes) -> Iterator[int]:
    with tempfile.TemporaryFile() as file:
        file.write(content)
        file.flush()
        yield file.fileno()


@st.composite
def writes(draw: st.DrawFn) -> Write:
    start = draw(st.integers(0, DISK_SECTORS - 1))
    return Write(
        start, draw(st.integers(0, min(8, DISK_SECTORS - start))), draw(FLAGS), draw(st.integers(0, 2**32 - 1))
    )


LOGS = st.lists(writes() | st.sampled_from([Mark(b"cut-1"), Mark(b"x")]), max_size=12)


def data_carrying(items: list[Write | Mark]) -> list[Write]:
    return [item for item in items if isinstance(item, Write) and item.sectors]


def disk_model(items: list[Write | Mark], sector_size: int) -> list[tuple[int, bytes] | None]:
    """Return for each sector which write (by position) won it, and its bytes; a discard leaves none."""
    disk: list[tuple[int, bytes] | None] = [None] * DISK_SECTORS
    for position, write in enumerate(data_carrying(items)):
        content = write.data(sector_size)
        for number in range(write.sectors):
            disk[write.sector + number] = (position, content[number * sector_size :][:sector_size])
    return disk


def sectors_of(parts: list[Survivor], entries: list[Entry], sector_size: int) -> list[tuple[int, bytes] | None]:
    disk: list[tuple[int, bytes] | None] = [None] * DISK_SECTORS
    for part in parts:
        position = next(index for index, entry in enumerate(entries) if entry is part.entry)
        content = b"" if part.entry.flags & DISCARD else read_part(part)
        for number in range(part.length // sector_size):
            here = part.offset // sector_size + number
            assert disk[here] is None, "two parts hold one sector"
            disk[here] = (position, content[number * sector_size :][:sector_size])
    return disk


@given(LOGS, SECTOR_SIZES)
def test_survivors_are_what_the_disk_holds_in_the_end(items: list[Write | Mark], sector_size: int) -> None:
    with log_file(encode([*items, END], sector_size)) as descriptor:
        entries = read_entries(descriptor)
        parts = survivors(entries)
        assert [entry.flags for entry in entries] == [write.flags for write in data_carrying(items)]
        assert sectors_of(parts, entries, sector_size) == disk_model(items, sector_size)
        assert [part.offset for part in parts] == sorted(part.offset for part in parts)
        assert all(part.length > 0 for part in parts)


@given(LOGS, SECTOR_SIZES)
def test_rivals_are_the_fua_writes_that_a_plain_part_may_wrongly_have_beaten(
    items: list[Write | Mark], sector_size: int
) -> None:
    with log_file(encode([*items, END], sector_size)) as descriptor:
        entries = read_entries(descriptor)
        for part in survivors(entries):
            position = next(index for index, entry in enumerate(entries) if entry is part.entry)
            mine = set(range(part.offset, part.offset + part.length, sector_size))
            expected = [
                entry
                for entry in entries[:position]
                if entry.flags & (FUA | FLUSH) == FUA
                and not part.entry.flags & (FUA | FLUSH)
                and mine & set(range(entry.offset, entry.offset + entry.length, sector_size))
            ]
            assert list(part.rivals) == expected


@pytest.mark.parametrize("seed", range(20))
def test_many_crowded_logs_end_as_the_model_does(seed: int) -> None:
    """Without files, so that there can be thousands: what wins each byte of a small disk."""
    dice = random.Random(seed)
    for _ in range(200):
        entries = [
            Entry(dice.randrange(12), dice.randrange(1, 9), dice.choice((0, FUA, FLUSH, DISCARD)), 0, 0)
            for _ in range(dice.randrange(1, 9))
        ]
        model = {byte: entry for entry in entries for byte in range(entry.offset, entry.offset + entry.length)}
        parts = survivors(entries)
        found = [(byte, part.entry) for part in parts for byte in range(part.offset, part.offset + part.length)]
        assert [byte for byte, _ in found] == sorted(model)
        assert all(model[byte] is entry for byte, entry in found)


def only_part(*items: Write | Mark) -> Survivor:
    with log_file(encode([*items, END])) as descriptor:
        (part,) = survivors(read_entries(descriptor))
        return part


@pytest.mark.parametrize(
    ("first", "second", "rivals"),
    [(FUA, 0, 1), (0, FUA, 0), (0, 0, 0), (FUA, FUA, 0), (FLUSH | FUA, 0, 0), (FUA, FLUSH, 0), (FUA, DISCARD, 1)],
)
def test_when_there_is_a_rival(first: int, second: int, rivals: int) -> None:
    assert len(only_part(Write(3, 2, first), Write(3, 2, second)).rivals) == rivals


def test_a_fua_write_beside_is_no_rival() -> None:
    with log_file(encode([Write(0, 2, FUA), Write(2, 2), END])) as descriptor:
        assert [part.rivals for part in survivors(read_entries(descriptor))] == [(), ()]


@settings(max_examples=50)
@given(LOGS, SECTOR_SIZES, st.data())
def test_a_log_that_was_cut_off_is_broken_wherever_it_was(
    items: list[Write | Mark], sector_size: int, data: st.DataObject
) -> None:
    whole = encode([*items, END], sector_size)
    length = data.draw(st.integers(0, len(whole) - 1))
    with log_file(whole[:length]) as descriptor, pytest.raises(BrokenLog):
        read_entries(descriptor)


@given(LOGS, SECTOR_SIZES)
def test_a_log_without_its_last_mark_is_broken(items: list[Write | Mark], sector_size: int) -> None:
    with log_file(encode(items, sector_size)) as descriptor, pytest.raises(LogOverflow, match="ran out of space"):
        read_entries(descriptor)


@given(LOGS)
def test_entries_that_the_first_sector_does_not_count_are_not_read(items: list[Write | Mark]) -> None:
    with log_file(encode([*items, END], entries=len(items))) as descriptor, pytest.raises(BrokenLog):
        read_entries(descriptor)


@given(LOGS, st.binary(max_size=2000))
def test_what_an_earlier_log_left_behind_the_end_does_not_matter(items: list[Write | Mark], rest: bytes) -> None:
    with log_file(encode([*items, END])) as clean, log_file(encode([*items, END]) + rest) as used:
        ours, theirs = ([(e.offset, e.length, e.position) for e in read_entries(file)] for file in (clean, used))
        assert ours == theirs


@pytest.mark.parametrize("damage", [(0, b"\0"), (8, b"\2"), (24, bytes(4)), (24, b"\1\0\0\0")])
def test_a_log_with_another_head_is_broken(damage: tuple[int, bytes]) -> None:
    log = bytearray(encode([Write(0, 1), END]))
    position, content = damage
    log[position : position + len(content)] = content
    with log_file(bytes(log)) as descriptor, pytest.raises(BrokenLog):
        read_entries(descriptor)


def test_a_disk_of_zeros_is_no_log() -> None:
    with log_file(bytes(4096)) as descriptor, pytest.raises(BrokenLog, match="no write log"):
        read_entries(descriptor)


def test_a_mark_in_the_middle_is_no_end() -> None:
    with log_file(encode([END, Write(0, 1), Mark(b"other")])) as descriptor, pytest.raises(BrokenLog):
        read_entries(descriptor)


def test_a_log_larger_than_the_read_ahead_is_read_whole() -> None:
    items: list[Write | Mark] = [Write(number * 8, 8, fill=number) for number in range(500)]
    with log_file(encode([*items, END])) as descriptor:
        entries = read_entries(descriptor)
        assert len(survivors(entries)) == 500
        for number, part in enumerate(survivors(entries)):
            assert read_part(part) == Write(number * 8, 8, fill=number).data(512)


def test_a_part_whose_data_is_gone_is_broken() -> None:
    with log_file(encode([Write(0, 4), END])) as descriptor:
        (part,) = survivors(read_entries(descriptor))
        os.ftruncate(descriptor, 1024)
        with pytest.raises(BrokenLog, match="ends at byte"):
            read_part(part)
