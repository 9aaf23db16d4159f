"""The checker against slow models that try everything."""

from __future__ import annotations

from functools import cache

from hypothesis import given, settings
from hypothesis import strategies as st

from lab.oracle.checks.causal import check_causal
from lab.oracle.checks.damage import check_damage
from lab.oracle.checks.epochs import LanePast
from lab.oracle.checks.instants import check_instant, find_windows
from lab.oracle.checks.overwrites import check_overwrites
from lab.oracle.clocks import Clocks
from lab.oracle.findings import Rule
from lab.oracle.group import Group, Member
from lab.oracle.judge import find_frontiers
from lab.oracle.trials.images import LaneImage, blank_image, copy_of, image_of
from lab.oracle.trials.simulation import Disks, World, simulate
from tests.oracle.model import has_one_instant, is_causal, is_some_prefix, predecessors

SHARED = Disks(clock_spread=0)


@cache
def small_world(seed: int) -> World:
    members = (Member("vm0", ("/a",)), Member("vm1", ("/a", "/b")))
    return simulate(seed, Group("5d" * 16, members, 1, log_slots=5, hot_slots=6), 30, SHARED)


@cache
def past_of(seed: int):
    return predecessors(small_world(seed))


def lane_is_sound(world: World, lane: int, found: LaneImage) -> bool:
    image = blank_image(world.group)
    image.lanes[lane] = found
    copy = copy_of(image)
    frontiers, findings = find_frontiers(copy, world.group, world.epochs(), 1)
    findings = [finding for finding in findings if finding.lane == lane]
    findings += check_damage(copy.damage, frontiers, world.group, 1)
    findings += check_overwrites(copy.lanes[lane], frontiers[lane], LanePast(world.group, lane, world.epochs(), 1))
    return not findings


@settings(max_examples=400, deadline=None)
@given(
    seed=st.integers(0, 20),
    lane=st.integers(0, 2),
    count=st.integers(0, 40),
    steps=st.lists(st.tuples(st.sampled_from(["drop", "again", "late", "swap"]), st.integers(0, 12)), max_size=3),
)
def test_a_lane_is_sound_exactly_when_it_is_a_prefix(seed, lane, count, steps) -> None:
    world = small_world(seed)
    stream = world.writes[1][lane]
    writes = list(stream[:count])
    for what, back in steps:
        index = len(writes) - 1 - back
        if what == "drop" and index >= 0:
            del writes[index]
        elif what == "again" and index >= 0:
            writes.append(writes[index])
        elif what == "late" and count + back < len(stream):
            writes.append(stream[count + back])
        elif what == "swap" and index >= 1:
            writes[index - 1], writes[index] = writes[index], writes[index - 1]
    image = image_of(world.group, {lane: writes})
    assert lane_is_sound(world, lane, image.lanes[lane]) == is_some_prefix(world, lane, image.lanes[lane])


@settings(max_examples=300, deadline=None)
@given(
    seed=st.integers(0, 20),
    moment=st.floats(0.1, 0.9),
    counts=st.tuples(st.integers(-6, 6), st.integers(-6, 6), st.integers(-6, 6)),
)
def test_causal_and_instant_agree_with_the_models(seed, moment, counts) -> None:
    world = small_world(seed)
    present = {}
    for lane, more in enumerate(counts):
        done, _ = world.held(lane, int(moment * world.end), 1)
        present[lane] = world.writes[1][lane][: max(0, done + more)]
    copy = copy_of(image_of(world.group, present))
    frontiers, findings = find_frontiers(copy, world.group, world.epochs(), 1)
    assert not findings
    causal = check_causal(frontiers, world.group)
    windows = find_windows(frontiers, world.facts(frontiers, 1, None), world.group)
    instant, _ = check_instant(windows, frontiers, Clocks(shared=True), world.group)
    assert (not causal) == is_causal(past_of(seed), present)
    assert (not instant) == has_one_instant(world, present)
    if causal:
        assert instant, "whatever breaks causality has no instant either"
        assert all(finding.rule is Rule.CAUSAL and finding.other_lane is not None for finding in causal)
