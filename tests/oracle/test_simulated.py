"""Sound cuts give no alarm; every mutant is found; the simulation and the stored history tell the same."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest

from lab.oracle import detection
from lab.oracle.findings import Rule
from lab.oracle.judge import Claim, StoredHistory, judge
from lab.oracle.trials.images import copy_of
from lab.oracle.trials.mutants import MUTANTS, Mutation, is_equivalent, late_cut, sound_scene
from lab.oracle.trials.simulation import MS, World, simulate, simulated_group
from tests.oracle.tell import write_histories


@pytest.fixture(scope="module")
def world() -> World:
    return simulate(5, simulated_group(), 400)


@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_sound_cuts_give_no_alarm(part: int) -> None:
    assert detection.count_false_alarms(1000, seed=1000 + part) == 0


@pytest.mark.parametrize("name", MUTANTS)
def test_every_mutant_is_found(name: str) -> None:
    row = detection.measure_mutant(name, MUTANTS[name], 60, required=True, seed=9)
    assert row.trials > row.equivalent
    assert not row.survived, row


def test_zombies_are_found_and_sound_failbacks_are_not() -> None:
    row, alarms = detection.measure_zombies(20)
    assert alarms == 0
    assert row.found == row.trials - row.equivalent > 10
    assert row.rules[Rule.ZOMBIE] == row.found


def test_detection_grows_with_the_delay_until_it_is_certain() -> None:
    rows = [detection.measure_mutant("late", late_cut(ms * MS), 60, required=False) for ms in (1, 2, 5, 20)]
    shares = [row.share for row in rows]
    assert shares == sorted(shares)
    assert shares[0] < 1.0
    assert shares[2:] == [1.0, 1.0]


def test_the_write_in_flight_may_be_torn_and_no_other(world: World) -> None:
    rng = random.Random(3)
    for _ in range(50):
        scene = sound_scene(world, rng)
        lane = rng.choice(world.group.lanes).index
        following = world.writes[1][lane][len(scene.applied[lane])]
        area, slot = scene.image.place(following)
        before, area[slot] = area[slot], "torn:f0"
        assert judge(copy_of(scene.image), world.group, world).sound
        area[slot] = "zero"
        assert Rule.DAMAGED in judge(copy_of(scene.image), world.group, world).rules
        area[slot] = before
        second = world.writes[1][lane][len(scene.applied[lane]) + 1]
        area, slot = scene.image.place(second)
        if area[slot] is scene.applied[lane][-1]:
            continue  # the last write itself: torn, it is one that was in flight a moment earlier
        area[slot] = "torn:f0"
        assert Rule.TORN in judge(copy_of(scene.image), world.group, world).rules


def test_a_hidden_change_is_equivalent(world: World) -> None:
    scene = sound_scene(world, random.Random(4))
    assert is_equivalent(scene, Mutation(scene.image))
    assert not is_equivalent(scene, Mutation(scene.image, Claim(previous=(1,))))
    assert not is_equivalent(scene, MUTANTS["spoiled canary"](scene))


def test_stored_histories_give_the_same_verdict(world: World, tmp_path: Path) -> None:
    stored = StoredHistory(world.group, write_histories(world, tmp_path))
    rng = random.Random(6)
    for name in ("dropped LOG", "post-cut leak", "stale volume", "invented steps", "went backwards"):
        scene = sound_scene(world, rng)
        mutation = MUTANTS[name](scene)
        for image, claim in ((scene.image, None), (mutation.image, mutation.claim)):
            copy = copy_of(image)
            mine, theirs = judge(copy, world.group, world, claim), judge(copy, world.group, stored, claim)
            # The world knows of a lane's last LOG write; a history only has whole steps.
            assert replace(mine, unwitnessed=0) == replace(theirs, unwitnessed=0)


def test_unknown_clocks_are_no_proof(world: World, tmp_path: Path) -> None:
    paths = write_histories(world, tmp_path, exchanges=False)
    scene = sound_scene(world, random.Random(7))
    verdict = judge(copy_of(scene.image), world.group, StoredHistory(world.group, paths))
    assert verdict.rules == {Rule.UNCOMPARED}


def test_a_verdict_is_json_that_names_everything(world: World) -> None:
    mutation = late_cut(20 * MS)(sound_scene(world, random.Random(8)))
    verdict = judge(copy_of(mutation.image), world.group, world)
    document = json.loads(verdict.as_json())
    assert document["sound"] is False
    pair = next(finding for finding in document["findings"] if finding["rule"] == "causal")
    assert pair["machine"] in {"vm0", "vm1", "vm2"}
    assert None not in {pair[key] for key in ("volume", "lane", "seq", "other_lane", "other_seq")}
    skew = next(finding for finding in document["findings"] if finding["rule"] == "instant")
    assert 0 < skew["skew_ns"] < 20 * MS


def test_the_command_prints_the_table(monkeypatch, capsys) -> None:
    monkeypatch.setattr("sys.argv", ["detection", "--trials", "4"])
    assert detection.main() == 0
    text = capsys.readouterr().out
    assert "false alarms 0" in text
    assert all(name in text for name in MUTANTS)
    monkeypatch.setattr("sys.argv", ["detection", "--trials", "2", "--json"])
    assert detection.main() == 0
    assert json.loads(capsys.readouterr().out)["passed"] is True


def test_survivors_and_false_alarms_fail_the_table() -> None:
    survivor = detection.Row("x", required=True, trials=3, equivalent=1, found=1)
    late = detection.Row("y", required=False, trials=3, found=1)
    assert survivor.survived
    assert not late.survived
    assert not detection.Detection(1, 0, (survivor,)).passed
    assert not detection.Detection(1, 1, (late,)).passed
    assert detection.Detection(1, 0, (late,)).passed
    assert "SURVIVED" in detection.Detection(1, 0, (survivor,)).as_text()
