"""Loss, zero-loss proof, application points, clocks: pure decisions over small values, each with its failures."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.oracle.checks.application import check_application_point, judge_application_point, lost_operations
from lab.oracle.checks.facts import LaneFacts, gather_facts
from lab.oracle.checks.frontier import Frontier
from lab.oracle.checks.instants import Label, check_label, find_windows
from lab.oracle.checks.loss import measure_loss
from lab.oracle.checks.zero_loss import ActiveSample, DiskRoots, Evidence, prove_zero_loss
from lab.oracle.clocks import Clocks
from lab.oracle.findings import Rule
from lab.oracle.group import BLOCK, hot_slots_for, overlap
from lab.oracle.history import Ended, EpochStart, Exchange, Marker, Opened, Redo, WallClock, parse_line
from lab.oracle.judge import find_frontiers, loss_of
from lab.oracle.trials.images import applied_writes, copy_of, image_of
from lab.oracle.trials.resolution import LaneTimes, lane_times, resolution
from lab.oracle.trials.simulation import MS, simulate, simulated_group
from tests.oracle.tell import write_histories

GROUP = simulated_group(machines=2, volumes=1, lanes_per_volume=1)


def frontier(lane: int, seq: int, *, hot: bool = True, marker: bool = False) -> Frontier:
    return Frontier(lane, seq, 1, hot, 1000, (), marker, followed=False)


# Loss


def test_rpo_counts_from_the_oldest_lost_acknowledgement() -> None:
    lost = LaneFacts(0, 10, present_acked=400, next_acked=500, known_position=14, acked_position=13, last_acked=900)
    kept = LaneFacts(1, 10, present_acked=700, known_position=10, acked_position=10, last_acked=700)
    loss = measure_loss({0: lost, 1: kept}, GROUP, {0: 1000, 1: 1000})
    assert (loss.lanes[0].lost_writes, loss.lanes[0].rpo_ns, loss.lanes[0].staleness_ns) == (3, 500, 600)
    assert (loss.lanes[1].lost_writes, loss.lanes[1].rpo_ns, loss.lanes[1].staleness_ns) == (0, 0, 300)
    assert loss.group.lost_bytes == 3 * BLOCK
    assert (loss.group.rpo_ns, loss.group.staleness_ns) == (500, 300)
    assert measure_loss({0: lost}, GROUP).group.rpo_ns == 400, "without a failure: until the last acknowledgement"


@pytest.mark.parametrize("seed", range(5))
def test_loss_agrees_with_counting(seed: int, tmp_path) -> None:
    group = simulated_group()
    world, rng = simulate(seed, group, 120), random.Random(seed)
    cut, died = sorted(rng.sample(range(40 * MS, 110 * MS), 2))
    lanes = {lane.index: cut for lane in group.lanes}
    applied = applied_writes(world, lanes, rng)
    failed_at = {machine: died + world.offsets[machine] for machine in range(3)}
    loss = loss_of(copy_of(image_of(group, applied)), group, world, failed_at)
    for lane in group.lanes:
        moment = failed_at[lane.machine]
        acked = [write.acked for write in world.writes[1][lane.index] if write.acked <= moment]
        missing = acked[len(applied[lane.index]) :]
        assert loss.lanes[lane.index].lost_writes == len(missing)
        assert loss.lanes[lane.index].rpo_ns == (moment - min(missing) if missing else 0)
    assert loss.group.rpo_ns == max(item.rpo_ns for item in loss.lanes.values())


# Zero loss


def proven() -> tuple[dict[int, Frontier], dict[int, LaneFacts], Evidence]:
    frontiers = {0: frontier(0, 5), 1: frontier(1, 7)}
    facts = {
        lane: LaneFacts(lane, item.position, known_position=item.position, acked_position=item.position)
        for lane, item in frontiers.items()
    }
    evidence = Evidence(
        stopped_ns={0: 100, 1: 110},
        last_ack_ns={0: 90, 1: 110},
        stopped_at_ns=1,
        delta_ended_ns=2,
        replica_started_ns=3,
        disks=[DiskRoots("data", "aa", "aa"), DiskRoots("swap", "x", "y")],
        old_side_refused=True,
        samples=[ActiveSample(1, source=True, replica=False), ActiveSample(4, source=False, replica=True)],
        excluded_disks=["swap"],
    )
    return frontiers, facts, evidence


def test_all_five_parts_prove_that_nothing_was_lost() -> None:
    proof = prove_zero_loss(*proven())
    assert proof.holds, proof
    assert len(proof.parts) == 5


BROKEN = {
    "no machine observed": (0, {"stopped_ns": {}, "last_ack_ns": {}}),
    "a machine that nobody saw stop": (0, {"stopped_ns": {0: 100}}),
    "a machine that nobody saw write": (0, {"last_ack_ns": {0: 90}}),
    "an acknowledgement after the stop": (0, {"last_ack_ns": {0: 101, 1: 110}}),
    "no disk compared": (2, {"disks": []}),
    "only excluded disks": (2, {"excluded_disks": ["data", "swap"]}),
    "a disk that differs": (2, {"excluded_disks": []}),
    "a disk without a digest": (2, {"disks": [DiskRoots("data", "", "")]}),
    "delta before the stop": (3, {"stopped_at_ns": 2}),
    "start before the delta": (3, {"replica_started_ns": 2}),
    "nobody tried the old side": (4, {"old_side_refused": None}),
    "the old side still writes": (4, {"old_side_refused": False}),
    "nobody looked": (4, {"samples": []}),
    "both sides active": (4, {"samples": [ActiveSample(1, source=True, replica=True)]}),
}


@pytest.mark.parametrize("what", BROKEN)
def test_each_part_fails_when_it_should(what: str) -> None:
    part, changes = BROKEN[what]
    frontiers, facts, evidence = proven()
    proof = prove_zero_loss(frontiers, facts, replace(evidence, **changes))
    assert [index for index, item in enumerate(proof.parts) if not item.holds] == [part]
    assert proof.parts[part].reasons
    assert not proof.holds


def test_lost_and_unknown_writes_break_the_proof() -> None:
    frontiers, facts, evidence = proven()
    lost = {**facts, 0: replace(facts[0], acked_position=11)}
    unknown = {**facts, 0: replace(facts[0], known_position=8)}
    for spoiled in (lost, unknown):
        assert not prove_zero_loss(frontiers, spoiled, evidence).parts[1].holds
    in_flight = {**facts, 0: replace(facts[0], known_position=9)}
    assert prove_zero_loss(frontiers, in_flight, evidence).holds
    assert not prove_zero_loss({}, {}, evidence).parts[1].holds


# Application-consistent points


def application() -> tuple[dict[int, Frontier], dict[int, LaneFacts], dict[int, Marker]]:
    frontiers = {0: frontier(0, 5, marker=True), 1: frontier(1, 7, marker=True)}
    facts = {lane: LaneFacts(lane, 2 * item.seq, accepted=item.seq) for lane, item in frontiers.items()}
    return frontiers, facts, {lane: Marker(lane, 1, 9, item.seq, 0, 50) for lane, item in frontiers.items()}


def test_a_point_ends_with_its_marker() -> None:
    frontiers, facts, markers = application()
    assert not check_application_point(frontiers, facts, markers, GROUP)
    wrong = [
        ({**frontiers, 0: frontier(0, 6, marker=True)}, facts, markers),
        ({**frontiers, 0: frontier(0, 4, marker=True)}, facts, markers),
        ({**frontiers, 0: frontier(0, 5)}, facts, markers),
        ({**frontiers, 0: frontier(0, 5, hot=False, marker=True)}, facts, markers),
        (frontiers, {**facts, 0: LaneFacts(0, 10, accepted=6)}, markers),
        (frontiers, facts, {**markers, 0: Marker(0, 1, 9, 5, 2, 50)}),
        (frontiers, facts, {1: markers[1]}),
    ]
    for case in wrong:
        (finding,) = check_application_point(*case, GROUP)
        assert (finding.rule, finding.lane) == (Rule.APPLICATION, 0)


def test_a_test_that_cannot_fail_is_no_test() -> None:
    frontiers, facts, markers = application()
    before = ({0: frontier(0, 4)}, {0: LaneFacts(0, 8, accepted=12)})
    assert lost_operations(*before) == 8
    assert judge_application_point((frontiers, facts), before, markers, GROUP).consistent
    vacuous = ({0: frontier(0, 4)}, {0: LaneFacts(0, 8, accepted=4)})
    verdict = judge_application_point((frontiers, facts), vacuous, markers, GROUP)
    assert not verdict.discriminates
    assert not verdict.consistent


# Clocks


@given(
    ahead=st.integers(-(10**12), 10**12),
    ways=st.lists(st.tuples(st.integers(1, 10**7), st.integers(1, 10**7)), min_size=1, max_size=40),
    drift=st.floats(-1e-4, 1e-4),
)
def test_the_true_offset_is_always_within_the_error(ahead, ways, drift) -> None:
    clocks = Clocks()
    for index, (there, back) in enumerate(ways):
        at = index * 250 * MS
        true = ahead + int(drift * at)
        clocks.add(Exchange(0, 1, at, at + there + true, at + there + true + 1000, at + there + 1000 + back))
    middle = len(ways) // 2 * 250 * MS
    for here, other, sign, at in ((0, 1, 1, middle), (1, 0, -1, middle + ahead)):
        offset = clocks.between(here, other, at)
        assert offset is not None
        assert abs(offset.ns - sign * (ahead + int(drift * middle))) <= offset.error_ns + 2


def test_more_exchanges_make_the_error_smaller_and_a_step_larger() -> None:
    wide, narrow = Exchange(0, 1, 0, 900, 900, 1000), Exchange(0, 1, 2000, 2480, 2480, 3000)
    clocks = Clocks.of_events([wide])
    first = clocks.between(0, 1, 0)
    clocks.add(narrow)
    second = clocks.between(0, 1, 0)
    assert first is not None
    assert second is not None
    assert second.error_ns < first.error_ns
    clocks.add(Exchange(0, 1, 4000, 5_000_000, 5_000_000, 4100))
    stepped = clocks.between(0, 1, 0)
    assert stepped is not None
    assert stepped.error_ns > 2_000_000


def test_a_clock_that_ran_backwards_says_nothing() -> None:
    assert Clocks.of_events([Exchange(0, 1, 1000, 900, 950, 980)]).between(0, 1, 0) is None


def test_strangers_have_no_offset_and_oneself_has_none_to_mind() -> None:
    clocks = Clocks.of_events([Exchange(0, 1, 0, 900, 900, 1000)])
    assert clocks.between(0, 2, 0) is None
    same = clocks.between(2, 2, 0)
    assert same is not None
    assert (same.ns, same.error_ns) == (0, 0)


def test_labels_are_read_by_the_wall_clock() -> None:
    clocks = Clocks.of_events([WallClock(0, 100, 50), WallClock(0, 5000, -1000)])
    assert clocks.from_wall(0, 160) == 110
    assert clocks.from_wall(0, 4000) == 5000
    assert clocks.from_wall(1, 77) == 77
    facts = {0: LaneFacts(0, 10, next_acked=1200)}
    windows = find_windows({0: frontier(0, 5)}, facts, GROUP)
    for begin, distance in ((1000, 0), (1200, 0), (900, 100), (1500, 300)):
        findings, error = check_label(windows, Clocks(), Label(0, begin, begin, 150), GROUP)
        assert error == distance
        assert bool(findings) == (distance > 150)
    findings, _ = check_label(windows, Clocks(), Label(1, 0, 0), GROUP)
    assert [finding.rule for finding in findings] == [Rule.UNCOMPARED]


# Facts, resolution, layout


def test_a_second_session_does_not_speak_for_the_first() -> None:
    frontiers = {0: frontier(0, 3, hot=False)}
    first = [Opened("", 0, 1, 0), EpochStart(0, 1, 0, 0), parse_line("S 0 1 1 2 10 50 0 5 5 10 2 5 5 5 5 2", 0)]
    second = [Opened("", 0, 2, 90), EpochStart(0, 2, 3, 1), Redo(0, 2, 3, 91, 95), Ended(0, 100)]
    facts = gather_facts({0: [*first, *second]}, {0: 0}, frontiers, 1)
    assert not facts[0].ended, "the first writer died, whatever the second one said"
    assert facts[0].known_position == 4
    assert gather_facts({0: [*first, *second]}, {0: 0}, frontiers, 2)[0].ended
    assert gather_facts({0: [*first, *second]}, {0: 0}, frontiers, 2)[0].next_acked == 95


def test_resolution_is_where_the_check_begins_to_find(tmp_path) -> None:
    group = simulated_group()
    world = simulate(3, group, 400)
    events = [parse_line(line, machine) for machine, path in write_histories(world, tmp_path).items()
              for line in path.read_text().splitlines()]  # fmt: skip
    found = resolution(group, lane_times(events, 1), Clocks.of_events(events), 400)
    assert found.found_ns is not None
    assert 0 < found.median_ns < found.found_ns < 10 * MS
    rng, caught = random.Random(8), 0
    for _ in range(100):
        moment, victim = rng.randrange(60 * MS, 360 * MS), rng.randrange(3)
        late = {lane.index: moment + found.found_ns * (lane.machine == victim) for lane in group.lanes}
        copy = copy_of(image_of(group, applied_writes(world, late, rng)))
        frontiers, _ = find_frontiers(copy, group, world.epochs(), 1)
        windows = find_windows(frontiers, world.facts(frontiers, 1, None), group)
        caught += any(
            late.begin_ns is not None and early.end_ns is not None
            and (offset := world.clocks().between(late.machine, early.machine, late.begin_ns)) is not None
            and late.begin_ns + offset.ns > early.end_ns + offset.error_ns
            for late in windows for early in windows
        )  # fmt: skip
    assert caught >= 97


def test_resolution_needs_two_machines() -> None:
    from array import array

    times = LaneTimes(array("q", range(0, 1000, 10)), array("q", range(5, 1005, 10)))
    with pytest.raises(ValueError, match="two machines"):
        resolution(GROUP, {0: times}, Clocks(shared=True), 10)


def test_hot_areas_are_sized_for_an_overlap() -> None:
    for steps in (100, 1000, 50000):
        assert overlap(steps, hot_slots_for(steps)) == pytest.approx(0.3, abs=0.01)
    rng = random.Random(1)
    steps, slots = 2000, hot_slots_for(2000)
    unique = len({rng.randrange(slots // 2) for _ in range(steps)}) + steps
    assert 1 - unique / (2 * steps) == pytest.approx(0.3, abs=0.02)
