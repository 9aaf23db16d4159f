"""Frames become calls to a page blob that do the same, few of them where an application writes here and there."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from logs import PAGE

from lab.replication import changeset as cs
from lab.replication.vault.pages import FEWEST, NEAR, PageWrite, Span, page_writes, with_spans
from lab.replication.vault.storage import MOST_WRITE

SIZE = 8 << 20
frames_drawn = st.lists(
    st.tuples(st.integers(0, 1), st.integers(0, SIZE // PAGE - 8), st.integers(1, 6), st.booleans()), max_size=60
)
"""Disk, first page, pages, zeros or not; ``close`` ones are on few pages, so that they overlap and touch."""
close = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 40), st.integers(1, 6), st.booleans()), max_size=30)


def frames_of(drawn: list[tuple[int, int, int, bool]]) -> tuple[list[cs.Frame], dict[int, bytearray]]:
    """Return frames, and the disks that they make of disks full of a pattern."""
    frames, disks = [], {0: bytearray(b"\xee" * SIZE), 1: bytearray(b"\xee" * SIZE)}
    for number, (disk, first, count, zero) in enumerate(drawn):
        data = bytes(PAGE * count) if zero else bytes([number % 200 + 1]) * (PAGE * count)
        frames.append(cs.data_frame(disk, first * PAGE, data))
        disks[disk][first * PAGE : (first + count) * PAGE] = data
    return frames, disks


def done(calls: Iterable[PageWrite | Span]) -> dict[int, bytearray]:
    disks = {0: bytearray(b"\xee" * SIZE), 1: bytearray(b"\xee" * SIZE)}
    for call in calls:
        disk = disks[call.disk]
        write = call.filled(bytes(disk[call.offset : call.offset + call.length])) if isinstance(call, Span) else call
        assert write.offset % PAGE == 0
        assert 0 < write.length <= MOST_WRITE
        disk[write.offset : write.end] = bytes(write.length) if write.data is None else write.data
    return disks


@given(drawn=st.one_of(frames_drawn, frames_drawn.map(sorted), close))
def test_calls_do_what_the_frames_do(drawn: list[tuple[int, int, int, bool]]) -> None:
    frames, disks = frames_of(drawn)
    assert done(page_writes(frames, None)) == disks
    assert done(with_spans(page_writes(frames, None))) == disks


def test_what_is_no_whole_page_is_refused() -> None:
    with pytest.raises(cs.Corrupt):
        list(page_writes([cs.data_frame(0, 100, bytes(PAGE))], None))


def test_adjacent_frames_become_one_write_of_at_most_four_mebibytes() -> None:
    mib = 1 << 20
    frames = [cs.data_frame(0, n * mib, b"x" * mib) for n in range(6)]
    assert [write.length for write in page_writes(frames, None)] == [4 * mib, 2 * mib]


def writes_at(*offsets: int) -> list[PageWrite]:
    return [PageWrite(0, offset, PAGE, b"x" * PAGE) for offset in offsets]


def test_scattered_writes_become_one_call_and_lonely_ones_are_left_alone() -> None:
    step = PAGE + NEAR
    many = writes_at(*(n * step for n in range(FEWEST)))
    assert list(with_spans(many)) == [Span(tuple(many))]
    few = writes_at(*(n * step for n in range(FEWEST - 1)))
    assert list(with_spans(few)) == few
    far = writes_at(*(n * (step + PAGE) for n in range(FEWEST)))
    assert list(with_spans(far)) == far


def test_a_span_fits_into_one_call_and_has_no_clear() -> None:
    many = writes_at(*range(0, 2 * MOST_WRITE, NEAR))
    spans = list(with_spans(many))
    assert [type(each) for each in spans] == [Span, Span]
    assert all(each.length <= MOST_WRITE for each in spans)
    cleared = [*many[:FEWEST], PageWrite(0, FEWEST * NEAR, PAGE, None), *many[FEWEST + 1 : 2 * FEWEST]]
    assert cleared[FEWEST] in list(with_spans(cleared))


def test_a_piece_that_came_back_too_short_is_refused() -> None:
    (span,) = with_spans(writes_at(*(n * 2 * PAGE for n in range(FEWEST))))
    assert isinstance(span, Span)
    with pytest.raises(cs.Corrupt):
        span.filled(bytes(span.length - PAGE))
