from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lab.oracle.checker import Instant, judge, lost_after
from lab.oracle.records import BLOCK, extend, pack, scan, unpack
from lab.oracle.witness import Acknowledged

RUN = bytes(range(16))
SLOTS = 8


def history(count: int) -> list[Acknowledged]:
    """Record n is issued at 10 n and acknowledged at 10 n + 5."""
    return [Acknowledged(n, 10 * n, 10 * n + 5) for n in range(1, count + 1)]


def image(newest: int, slots: int = SLOTS) -> list[int]:
    """What the slots hold when the records up to ``newest`` were written, by doing it the slow way."""
    held = [0] * slots
    for sequence in range(1, newest + 1):
        held[sequence % slots] = sequence
    return held


def runs(held: list[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for sequence in held:
        extend(found, sequence)
    return found


@given(newest=st.integers(0, 40), late=st.integers(0, 5))
def test_every_power_cut_is_consistent(newest: int, late: int) -> None:
    cut = 10 * newest + late
    verdict = judge(runs(image(newest)), SLOTS, history(50), Instant(cut, cut))
    assert verdict.consistent
    assert verdict.newest == newest


@given(newest=st.integers(2, 40), back=st.integers(1, 7))
def test_a_dropped_write_is_found(newest: int, back: int) -> None:
    victim = newest - min(back, newest - 1)
    held = image(newest)
    held[victim % SLOTS] = max(victim - SLOTS, 0)
    verdict = judge(runs(held), SLOTS, history(50), None)
    assert verdict.holes == (victim,)


@given(newest=st.integers(1, 40), missing=st.integers(1, 10))
def test_an_old_image_lost_records(newest: int, missing: int) -> None:
    instant = Instant(10 * (newest + missing) + 6, 10 * (newest + missing) + 6)
    verdict = judge(runs(image(newest)), SLOTS, history(60), instant)
    assert verdict.lost == tuple(range(newest + 1, newest + missing + 1))


@given(newest=st.integers(5, 40), early=st.integers(1, 4))
def test_a_record_from_after_the_instant_is_a_leak(newest: int, early: int) -> None:
    instant = Instant(10 * (newest - early), 10 * (newest - early) + 1)
    verdict = judge(runs(image(newest)), SLOTS, history(50), instant)
    assert verdict.leaked == tuple(range(newest - early + 1, newest + 1))


def test_the_record_under_way_may_be_torn_and_no_other() -> None:
    held = image(10)
    held[11 % SLOTS] = -1
    assert judge(runs(held), SLOTS, history(20), None).consistent
    held[9 % SLOTS] = -1
    assert judge(runs(held), SLOTS, history(20), None).damaged_slots == (9 % SLOTS,)


def test_rpo_counts_from_the_oldest_lost_acknowledgement() -> None:
    lost, seconds = lost_after(history(20), 17, failed_at_ns=195)
    assert lost == 2
    assert seconds == (195 - 185) / 1e9
    assert lost_after(history(20), 20, failed_at_ns=300) == (0, 0.0)


@given(sequence=st.integers(1, 1 << 40), bit=st.integers(0, BLOCK * 8 - 1))
def test_any_flipped_bit_is_damage(sequence: int, bit: int) -> None:
    block = bytearray(pack(RUN, sequence, SLOTS, 123))
    slot = sequence % SLOTS
    assert unpack(bytes(block), RUN, slot) == sequence
    block[bit // 8] ^= 1 << bit % 8
    assert unpack(bytes(block), RUN, slot) == -1


def test_misdirected_and_foreign_records_are_damage() -> None:
    block = pack(RUN, 5, SLOTS, 1)
    assert unpack(block, RUN, 6) == -1
    assert unpack(block, bytes(16), 5) == -1
    assert unpack(bytes(BLOCK), RUN, 5) == 0


def test_scan_reads_what_was_written(tmp_path) -> None:
    file = tmp_path / "records"
    held = image(11)
    file.write_bytes(b"".join(pack(RUN, n, SLOTS, 1) if n else bytes(BLOCK) for n in held))
    assert scan(str(file), RUN, SLOTS) == runs(held)
