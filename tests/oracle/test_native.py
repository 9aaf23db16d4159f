"""The native writer and scanner, with real processes and real files."""

from __future__ import annotations

import errno
import resource
import time
from pathlib import Path

import pytest

from lab.oracle.checks.epochs import Epochs
from lab.oracle.findings import Rule
from lab.oracle.group import BLOCK, Group, Member, Pace
from lab.oracle.history import Batch, Ended, Redo, Refused, read_history
from lab.oracle.judge import Claim, find_frontiers, judge
from lab.oracle.local import LocalWriter
from lab.oracle.native_tool import CompileFailed, native_tool
from lab.oracle.scan import scan_file, scan_group
from lab.oracle.trials.resolution import lane_times, resolution
from tests.oracle import blocks
from tests.oracle.cuts import continue_all, copy_files, history_of, scan_cut, stop_all

PACE = Pace(rate=250)


def start(group: Group, running: list[LocalWriter], pace: Pace = PACE) -> None:
    for writer in running:
        writer.start(pace)
    for writer in running:
        writer.wait_steps(30)


def test_real_cuts_are_sound_and_late_copies_are_not(tool, make_group, writers, tmp_path) -> None:
    group = make_group()
    running = writers(group)
    start(group, running)
    sound = []
    for turn in range(5):
        sound.append(scan_cut(tool, group, running, tmp_path / f"cut{turn}"))
        running[turn % 3].wait_steps(20)
    stop_all(running)
    parts = copy_files(group, tmp_path / "late", [0, 1])
    continue_all(running)
    running[2].wait_steps(15)
    stop_all(running)
    parts |= copy_files(group, tmp_path / "late", [2])
    continue_all(running)
    for writer in running:
        writer.wait_steps(5)
        writer.stop()
    late = scan_group(tool, group, parts)
    history = history_of(group, running)
    previous = None
    for copy in sound:
        verdict = judge(copy, group, history, Claim(previous=previous))
        assert verdict.sound, verdict.findings
        assert verdict.clock_error_ns < 5_000_000
        previous = verdict.frontier
        assert min(previous) > 30
    verdict = judge(late, group, history)
    assert {Rule.INSTANT, Rule.CAUSAL} <= verdict.rules
    assert {finding.machine for finding in verdict.findings} == {"vm2"}
    measured = resolution(group, lane_times(history.events(), 1), history.clocks(), 300)
    assert 0 < measured.median_ns <= (measured.found_ns or measured.median_ns)
    assert measured.trials == 300


def test_a_power_cut_keeps_everything_acknowledged(tool, make_group, writers, tmp_path) -> None:
    group = make_group()
    running = writers(group)
    start(group, running)
    for writer in running:
        writer.kill()
    history = history_of(group, running)
    copy = scan_group(tool, group, copy_files(group, tmp_path / "dead", range(3)))
    verdict = judge(copy, group, history)
    assert verdict.sound, verdict.findings
    for writer in running:
        for lane, newest in writer.witness.newest().items():
            assert verdict.frontier[lane] >= newest.seq


def test_a_recovery_goes_on_in_a_new_epoch(tool, make_group, writers, tmp_path) -> None:
    group = make_group(machines=2)
    running = writers(group)
    start(group, running)
    for writer in running:
        writer.kill()
    dead = judge(
        scan_group(tool, group, copy_files(group, tmp_path / "dead", [0, 1])), group, history_of(group, running)
    )
    for writer in running:
        writer.start(PACE, epoch=2, resume=True)
    for writer in running:
        writer.wait_steps(30)
    copy = scan_cut(tool, group, running, tmp_path / "cut")
    for writer in running:
        writer.stop()
    history = history_of(group, running)
    verdict = judge(copy, group, history, Claim(previous=dead.frontier))
    assert verdict.sound, verdict.findings
    assert verdict.epoch == 2
    epochs = history.epochs()
    assert [epochs.begins_at(lane, 2) for lane in range(8)] == list(dead.frontier)
    assert sum(isinstance(event, Redo) for event in history.events()) == 8


def test_a_marker_flushes_and_holds(tool, make_group, writers, tmp_path) -> None:
    from lab.oracle.checks.application import judge_application_point, markers_of

    group = make_group(machines=1)
    (writer,) = running = writers(group)
    start(group, running)
    before = scan_cut(tool, group, running, tmp_path / "before")
    writer.mark(7)
    point = scan_cut(tool, group, running, tmp_path / "point")
    held = writer.witness.newest()
    writer.command("resume")
    writer.wait_steps(5)
    after = scan_cut(tool, group, running, tmp_path / "after")
    writer.stop()
    history = history_of(group, running)
    parts = {}
    for name, copy in (("before", before), ("point", point), ("after", after)):
        frontiers, findings = find_frontiers(copy, group, history.epochs(), 1)
        assert not findings
        parts[name] = (frontiers, history.facts(frontiers, 1, None))
    markers = markers_of(history.events(), 7)
    assert {lane: marker.seq for lane, marker in markers.items()} == {lane: last.seq for lane, last in held.items()}
    verdict = judge_application_point(parts["point"], parts["before"], markers, group)
    assert verdict.consistent, verdict
    for name in ("before", "after"):
        assert judge_application_point(parts[name], parts["before"], markers, group).findings
    assert not judge_application_point(parts["point"], parts["point"], markers, group).discriminates


def test_the_rate_is_kept_and_the_history_is_whole(tool, make_group, writers) -> None:
    group = make_group(machines=1, volumes=1)
    (writer,) = writers(group)
    writer.start(Pace(rate=100))
    begin = time.monotonic()
    writer.wait_steps(60)
    assert time.monotonic() - begin > 0.4
    writer.stop()
    events = list(read_history(writer.witness.log, 0))
    assert isinstance(events[-1], Ended)
    for lane in (0, 1):
        seqs = [
            step.seq for event in events if isinstance(event, Batch) and event.lane == lane for step in event.steps()
        ]
        assert seqs == list(range(1, len(seqs) + 1))
        assert seqs[-1] == writer.witness.newest()[lane].seq


def test_blocks_are_what_the_specification_says(tool, make_group, writers) -> None:
    group = make_group(machines=1, volumes=1)
    (writer,) = writers(group)
    writer.start(PACE)
    writer.wait_steps(20)
    writer.stop()
    data = Path(group.members[0].volumes[0]).read_bytes()
    assert len(data) == group.volume_blocks * BLOCK
    lane = group.lanes[1]
    log = [data[at * BLOCK : at * BLOCK + BLOCK] for at in (group.log_block(lane, seq) for seq in range(1, 11))]
    assert all(blocks.verify(block) for block in log)
    headers = [blocks.HEADER.unpack_from(block) for block in log]
    assert [header[7] for header in headers] == list(range(1, 11))
    assert [header[11] for header in headers[1:]] == [header[12] for header in headers[:-1]]
    newest = writer.witness.newest()[1].seq
    slot = group.hot_slot(1, newest, 1)
    hot = data[group.hot_block(lane, slot) * BLOCK :][:BLOCK]
    assert blocks.HEADER.unpack_from(hot)[6:9] == (blocks.HOT, newest, group.hot_block(lane, slot))


def test_a_copy_in_an_image_is_found_by_its_extents(tool, make_group, writers, tmp_path) -> None:
    group = make_group(machines=1, volumes=1)
    (writer,) = writers(group)
    writer.start(PACE)
    writer.wait_steps(20)
    writer.stop()
    path = Path(group.members[0].volumes[0])
    data, half = path.read_bytes(), group.volume_blocks // 2 * BLOCK
    image = tmp_path / "image"
    image.write_bytes(bytes(8192) + data[half:] + b"x" * 4096 + data[:half])
    extents = [(8192 + len(data) - half + 4096, half), (8192, len(data) - half)]
    assert scan_file(tool, group, (0, 0), image, extents) == scan_file(tool, group, (0, 0), path)


def test_the_writer_ends_when_nobody_listens(tool, make_group) -> None:
    import subprocess

    group = make_group(machines=1, volumes=1)
    arguments = [str(tool), *group.write_arguments(0, PACE)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"V"
        process.stdout.close()
        assert process.wait(10) == 0


def test_the_writer_refuses_nonsense(tool) -> None:
    import subprocess

    done = subprocess.run([str(tool), "write", "--run", "xy"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--run" in done.stderr


def test_the_tool_is_compiled_once(tool: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert native_tool(tool.parent) == tool
    with pytest.raises(CompileFailed):
        native_tool(tool.parent / "other")


def test_two_hundred_steps_a_second_for_each_lane(tool, make_group, writers) -> None:
    group = make_group(machines=1, volumes=1)
    (writer,) = writers(group)
    writer.start(Pace())
    writer.wait_steps(20)
    first = writer.witness.newest()
    begin = time.monotonic()
    writer.wait_steps(400)
    seconds = time.monotonic() - begin
    steps = {lane: last.seq - first[lane].seq for lane, last in writer.witness.newest().items()}
    assert min(steps.values()) / seconds > 200


def test_groups_have_limits() -> None:
    with pytest.raises(ValueError, match="256 lanes"):
        Group("00" * 16, tuple(Member(f"vm{index}", ("/a", "/b", "/c")) for index in range(25)), 4)
    with pytest.raises(ValueError, match="16 bytes"):
        Group("00", (Member("vm", ("/a",)),))
    assert Epochs({}).last_valid(0, 1, 2) is None


def test_a_refused_write_ends_its_lane_and_is_told(make_group, writers) -> None:
    group = make_group(machines=1, volumes=1)
    (writer,) = writers(group)
    writer.start(PACE)
    writer.wait_steps(20)
    resource.prlimit(writer.pid, resource.RLIMIT_FSIZE, (0, 0))
    end = time.monotonic() + 10
    refused = {}
    while len(refused) < 2:
        assert time.monotonic() < end, "no lane told of its refused write"
        refused = {event.lane: event for event in read_history(writer.witness.log, 0) if isinstance(event, Refused)}
    newest = writer.witness.newest()
    writer.stop()
    assert writer.witness.newest() == newest
    for lane, event in refused.items():
        assert event.errno == errno.EFBIG
        assert event.seq in {newest[lane].seq, newest[lane].seq + 1}
        assert event.at >= newest[lane].acked_ns


def test_dead_peers_do_not_stop_a_writer(make_group, writers) -> None:
    group = make_group(machines=2)
    running = writers(group)
    start(group, running)
    running[0].kill()
    running[1].wait_steps(10)
    running[1].stop()


def test_commands_change_rate_and_epoch(tool, make_group, writers, tmp_path) -> None:
    group = make_group(machines=1, volumes=1)
    (writer,) = running = writers(group)
    writer.start(Pace(rate=5))
    writer.wait_steps(2)
    writer.command("rate 500")
    writer.wait_steps(100, seconds=5.0)
    writer.command("nonsense")
    writer.command("epoch 2")
    writer.wait_steps(30)
    copy = scan_cut(tool, group, running, tmp_path / "cut")
    writer.stop()
    history = history_of(group, running)
    verdict = judge(copy, group, history, Claim(epoch=2))
    assert verdict.sound, verdict.findings
    assert all(history.epochs().begins_at(lane, 2) > 100 for lane in (0, 1))
    assert any("nonsense" in remark for remark in writer.witness.remarks())
