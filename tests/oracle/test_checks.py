"""Each check on small copies made by hand: what it finds, where, and what it leaves alone."""

from __future__ import annotations

from array import array

import pytest

from lab.oracle.checks.causal import check_causal
from lab.oracle.checks.damage import check_damage
from lab.oracle.checks.epochs import Epochs, LanePast
from lab.oracle.checks.facts import LaneFacts
from lab.oracle.checks.frontier import Frontier, find_frontier
from lab.oracle.checks.instants import check_instant, find_windows
from lab.oracle.checks.overwrites import check_overwrites
from lab.oracle.clocks import Clocks
from lab.oracle.findings import Finding, Rule
from lab.oracle.group import Group, Member
from lab.oracle.history import EpochStart, Exchange
from lab.oracle.judge import Claim, judge
from lab.oracle.scan import ABSENT, Copy, Damage, LaneCopy, NewestHot, Run

GROUP = Group("00" * 16, (Member("vm0", ("/a",)), Member("vm1", ("/a",))), 1, log_slots=100, hot_slots=8, seed=5)
FIRST = Epochs.of_events([EpochStart(lane, 1, 0, 0) for lane in (0, 1)])
SECOND = Epochs.of_events(
    [EpochStart(lane, epoch, base, redo) for lane in (0, 1) for epoch, base, redo in ((1, 0, 0), (2, 10, 1))]
)


def run(first: int, last: int, epoch: int = 1, clock: tuple[int, ...] = ()) -> Run:
    return Run(epoch, first, last, 1, 1000 * last, clock)


def lane_copy(runs: list[Run], past: LanePast, *, hot_until: int) -> LaneCopy:
    """The HOT area as the overwrites up to one step leave it; a recovery has written the one of its base again."""
    held, epochs = [0] * GROUP.hot_slots, [1] * GROUP.hot_slots
    for seq in range(1, hot_until + 1):
        slot = past.hot_slot(seq)
        rewritten = past.epochs.rewrites(past.lane, past.current, seq)
        held[slot], epochs[slot] = seq, past.current if rewritten else past.epoch_of(seq)
    newest = NewestHot(past.epoch_of(hot_until), hot_until, 1000 * hot_until + 500) if hot_until else None
    return LaneCopy(
        runs, array("q", held), array("q", epochs), newest, 100 - max((item.last for item in runs), default=0)
    )


def findings_of(copy: LaneCopy, past: LanePast) -> list[Finding]:
    frontier, findings = find_frontier(copy, past)
    return findings + check_overwrites(copy, frontier, past)


PAST = LanePast(GROUP, 0, FIRST, 1)
LATER = LanePast(GROUP, 0, SECOND, 2)


@pytest.mark.parametrize("hot_until", [19, 20])
def test_a_sound_lane(hot_until: int) -> None:
    copy = lane_copy([run(1, 20)], PAST, hot_until=hot_until)
    frontier, _ = find_frontier(copy, PAST)
    assert not findings_of(copy, PAST)
    assert (frontier.seq, frontier.position, frontier.issued_ns) == (
        20,
        20 + hot_until,
        1000 * 20 + 500 * (hot_until == 20),
    )


def test_a_gap_names_both_sides() -> None:
    copy = lane_copy([run(1, 11), run(13, 20)], PAST, hot_until=20)
    finding = next(finding for finding in findings_of(copy, PAST) if finding.rule is Rule.ORDER)
    assert (finding.machine, finding.volume, finding.lane, finding.seq, finding.other_seq) == ("vm0", 0, 0, 12, 13)


def test_a_torn_record_before_others_was_not_in_flight() -> None:
    copy = lane_copy([run(1, 11), run(13, 20)], PAST, hot_until=11)
    frontier, _ = find_frontier(copy, PAST)
    torn = Damage("torn:f0", 0, 0, 0, GROUP.log_block(GROUP.lanes[0], 12), 1)
    assert [finding.rule for finding in check_damage([torn], {0: frontier}, GROUP, 1)] == [Rule.TORN]
    at_the_end, _ = find_frontier(lane_copy([run(1, 11)], PAST, hot_until=11), PAST)
    assert not check_damage([torn], {0: at_the_end}, GROUP, 1)
    waiting, _ = find_frontier(lane_copy([run(1, 11)], PAST, hot_until=10), PAST)
    assert check_damage([torn], {0: waiting}, GROUP, 1), "LOG(12) is not issued before HOT(11) is acknowledged"


@pytest.mark.parametrize(("seq", "rule"), [(1, Rule.STALE), (21, Rule.LEAKED), (19, Rule.MISDIRECTED)])
def test_a_wrong_version(seq: int, rule: Rule) -> None:
    copy = lane_copy([run(1, 20)], PAST, hot_until=20)
    settled = [slot for slot in range(GROUP.hot_slots // 2) if slot != PAST.hot_slot(20)]
    oldest, newest = (choose(settled, key=lambda slot: copy.hot[slot]) for choose in (min, max))
    slot = oldest if rule is Rule.MISDIRECTED else newest
    copy.hot[slot] = seq
    (finding,) = findings_of(copy, PAST)
    assert (finding.rule, finding.seq) == (rule, seq)


def test_a_missing_version_is_left_to_the_damage_check() -> None:
    copy = lane_copy([run(1, 20)], PAST, hot_until=20)
    copy.hot[PAST.hot_slot(19)] = ABSENT
    assert not findings_of(copy, PAST)


def test_a_second_epoch_is_sound_with_and_without_its_redo() -> None:
    runs = [run(1, 10), run(11, 14, epoch=2)]
    assert not findings_of(lane_copy(runs, LATER, hot_until=14), LATER)
    not_begun = lane_copy([run(1, 10)], LATER, hot_until=10)
    not_begun.hot_epochs[LATER.hot_slot(10)] = 1
    frontier, _ = find_frontier(not_begun, LATER)
    assert not findings_of(not_begun, LATER)
    assert frontier.position == 19, "HOT(10) of the first epoch is there, the one of the second is not"


def test_zombies_in_the_log_and_among_the_overwrites() -> None:
    log = lane_copy([run(1, 10), run(11, 14, epoch=2), run(15, 17)], LATER, hot_until=14)
    (finding,) = findings_of(log, LATER)
    assert (finding.rule, finding.seq) == (Rule.ZOMBIE, 17)
    hot = lane_copy([run(1, 10), run(11, 14, epoch=2)], LATER, hot_until=14)
    slot = PAST.hot_slot(13)
    hot.hot[slot], hot.hot_epochs[slot] = 13, 1
    (finding,) = findings_of(hot, LATER)
    assert (finding.rule, finding.seq) == (Rule.ZOMBIE, 13)


def test_an_overwrite_of_another_epoch_is_foreign() -> None:
    copy = lane_copy([run(1, 10), run(11, 14, epoch=2)], LATER, hot_until=14)
    slot = LATER.hot_slot(9)
    assert copy.hot[slot] == 9
    copy.hot_epochs[slot] = 2
    (finding,) = findings_of(copy, LATER)
    assert finding.rule is Rule.FOREIGN


def test_an_epoch_that_nobody_began_is_foreign() -> None:
    copy = lane_copy([run(1, 20), run(21, 22, epoch=7)], PAST, hot_until=20)
    assert Rule.FOREIGN in {finding.rule for finding in findings_of(copy, PAST)}


def frontier(lane: int, seq: int, issued_ns: int, clock: tuple[int, ...] = ()) -> Frontier:
    return Frontier(lane, seq, 1, True, issued_ns, clock, marker=False, followed=False)


def test_causality_names_the_pair() -> None:
    frontiers = {0: frontier(0, 5, 100, (5, 8)), 1: frontier(1, 7, 100, (5, 7))}
    (finding,) = check_causal(frontiers, GROUP)
    assert (finding.lane, finding.seq, finding.other_lane, finding.other_seq) == (0, 5, 1, 8)
    assert not check_causal({**frontiers, 1: frontier(1, 8, 100, (5, 8))}, GROUP)


@pytest.mark.parametrize(("issued", "found"), [(1000, False), (1050, False), (1051, True)])
def test_the_clock_error_is_given_away(issued: int, found: bool) -> None:
    clocks = Clocks.of_events([Exchange(0, 1, 950, 1048, 1048, 1046)])  # vm1 is about 50 ns ahead, and so is the error
    offset = clocks.between(0, 1, 1000)
    assert offset is not None
    frontiers = {0: frontier(0, 5, issued), 1: frontier(1, 7, 10)}
    facts = {0: LaneFacts(0, 10), 1: LaneFacts(1, 14, next_acked=1050 + offset.ns - offset.error_ns)}
    windows = find_windows(frontiers, facts, GROUP)
    findings, error = check_instant(windows, frontiers, clocks, GROUP)
    assert error == offset.error_ns
    assert bool(findings) == found


class DeadTestimony:
    """A writer that was killed after step 20 of lane 0 had been issued at 20000."""

    def epochs(self) -> Epochs:
        return FIRST

    def clocks(self) -> Clocks:
        return Clocks(shared=True)

    def facts(self, frontiers, epoch, failed_at):
        return {lane: LaneFacts(lane, item.position, known_position=30) for lane, item in frontiers.items()}


def test_nothing_is_issued_by_a_dead_machine() -> None:
    copy = Copy({0: lane_copy([run(1, 20)], PAST, hot_until=19)})
    assert judge(copy, GROUP, DeadTestimony()).sound
    assert judge(copy, GROUP, DeadTestimony(), Claim(failed_at={0: 20000})).sound
    verdict = judge(copy, GROUP, DeadTestimony(), Claim(failed_at={0: 19999}))
    assert verdict.rules == {Rule.INVENTED}
    assert verdict.unwitnessed == 9
