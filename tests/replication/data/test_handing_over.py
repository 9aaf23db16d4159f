"""A stream moves from one master target to another with its recovery points, with the real services."""

from __future__ import annotations

import hashlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stack import AGENT, MIB, MT, MT2, PS, Stack
from test_end_to_end import Scribbler

from lab.replication.common.control import CommandFailed
from lab.replication.master_target.handover import needed_bytes, read_archive, write_archive

DISK = "handover"


@pytest.fixture
def running(tmp_path, authority, control):
    stack = Stack(tmp_path, authority, control)
    stack.create([4 * MIB, 2 * MIB], b"start" * 100_000)
    stack.start(MT, MT2, PS, AGENT)
    stack.open_stream()
    stack.replicate()
    stack.control.wait_event("recovery-point", 3)
    yield stack
    stack.close()


def hand_over(stack, old: str, new: str) -> int:
    """Do what the configuration server does up to the take-over; return the number of the next document."""
    stack.control.value(PS, "seal-stream", stream=stack.stream)
    last = stack.control.value(PS, "drain", stream=stack.stream)["last_sequence"]
    size = stack.control.value(old, "hand-over-size", stream=stack.stream)["bytes"]
    (stack.replicas / DISK).write_bytes(bytes((size // MIB + 1) * MIB))
    archive = stack.control.value(old, "hand-over", stream=stack.stream, serial=DISK)
    stack.control.value(new, "take-over", stream=stack.stream, serial=DISK, first=last + 1, **archive)
    return last + 1


def move(stack, old: str, new: str) -> None:
    hand_over(stack, old, new)
    stack.open_at_master_target(new, fresh=False, process_server="ps1")
    stack.open_at_process_server(PS, towards=new)
    stack.control.value(old, "close-stream", stream=stack.stream)


def check(stack, at: str, before: dict) -> None:
    """The series has no gap, and points from before and after the move are what the disks were."""
    last = stack.cut()
    stack.wait_point(last)
    points = {point["recovery_point"]: point for point in stack.points()}
    numbers = sorted(point["sequence"] for point in points.values())
    assert numbers == list(range(numbers[0], numbers[-1] + 1)), "the series has a gap"
    for point in (before, points[last["recovery_point"]], *list(points.values())[-4:]):
        stack.check_point(point, at)
    assert not stack.control.of("resynchronisation-required")


def test_points_from_before_and_after_are_right_at_the_new_one(running):
    before = running.points()[0]
    with Scribbler(running):
        move(running, MT, MT2)
        running.control.wait_event("recovery-point", len(running.points()) + 3)
    check(running, MT2, before)
    assert running.control.order(MT, "roll", stream=running.stream, recovery_point="x", disks=[])["ok"] is False
    assert not list(running.directory.glob("master-target-mt1-state/streams/*"))


def test_there_and_back_again(running):
    before = running.points()[0]
    with Scribbler(running):
        move(running, MT, MT2)
        running.control.wait_event("recovery-point", len(running.points()) + 2)
        move(running, MT2, MT)
        running.control.wait_event("recovery-point", len(running.points()) + 2)
    check(running, MT, before)


def test_a_hand_over_that_is_given_up_goes_on_where_it_was(running):
    before = running.points()[0]
    with Scribbler(running):
        hand_over(running, MT, MT2)
        running.control.value(MT2, "close-stream", stream=running.stream)
        running.open_at_master_target(MT, fresh=False, process_server="ps1")
        running.open_at_process_server(PS)
        running.control.wait_event("recovery-point", len(running.points()) + 3)
    check(running, MT, before)


def test_a_take_over_that_is_repeated_forgets_nothing(running):
    """The order comes again after the new one has gone on: what it has since must not be given up."""
    before = running.points()[0]
    with Scribbler(running):
        first = hand_over(running, MT, MT2)
        archive = running.control.value(MT, "hand-over", stream=running.stream, serial=DISK)
        running.open_at_master_target(MT2, fresh=False, process_server="ps1")
        running.open_at_process_server(PS, towards=MT2)
        running.control.wait_event("recovery-point", len(running.points()) + 2)
        running.control.value(MT2, "take-over", stream=running.stream, serial=DISK, first=first, **archive)
        running.control.wait_event("recovery-point", len(running.points()) + 2)
    check(running, MT2, before)


def test_a_disk_that_is_not_what_was_written_is_refused(running):
    first = hand_over(running, MT, MT2)
    running.control.value(MT2, "close-stream", stream=running.stream)
    archive = running.control.value(MT, "hand-over", stream=running.stream, serial=DISK)
    with (running.replicas / DISK).open("r+b") as disk:
        disk.seek(700)
        disk.write(b"damage")
    result = running.control.order(MT2, "take-over", stream=running.stream, serial=DISK, first=first, **archive)
    assert result["error"]["type"] == "archive-damaged"


FILES = st.dictionaries(st.integers(0, 99), st.binary(max_size=3000), max_size=5)


@given(points=FILES, undo=FILES)
def test_what_is_written_is_read(tmp_path_factory, points, undo):
    folder = tmp_path_factory.mktemp("stream")
    source, target, disk = folder / "a", folder / "b", folder / "disk"
    for name, suffix, files in (("points", "json", points), ("undo", "undo", undo)):
        (source / name).mkdir(parents=True)
        (source / name / "unfinished.part").write_bytes(b"not part of it")
        for number, content in files.items():
            (source / name / f"{number:012}.{suffix}").write_bytes(content)
    disk.write_bytes(bytes(needed_bytes(source)))
    archive = write_archive(source, disk)
    assert archive["length"] <= needed_bytes(source)
    (target / "undo").mkdir(parents=True)
    (target / "undo" / f"{7:012}.undo").write_bytes(b"of an earlier stay")
    read_archive(disk, target, archive["length"], archive["sha256"])
    found = {str(path.relative_to(target)): path.read_bytes() for path in target.rglob("*") if path.is_file()}
    expected = {f"points/{number:012}.json": content for number, content in points.items()}
    expected |= {f"undo/{number:012}.undo": content for number, content in undo.items()}
    assert found == expected


def test_a_disk_that_is_too_small_is_refused(tmp_path):
    (tmp_path / "points").mkdir()
    (tmp_path / "disk").write_bytes(bytes(512))
    with pytest.raises(CommandFailed, match="needed") as refused:
        write_archive(tmp_path, tmp_path / "disk")
    assert refused.value.kind == "disk-too-small"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil", tarfile.REGTYPE),
        ("/etc/passwd", tarfile.REGTYPE),
        ("undo/000000000001.undo", tarfile.SYMTYPE),
        ("rolled.json", tarfile.REGTYPE),
    ],
)
def test_entries_that_do_not_belong_there_are_refused(tmp_path, name, kind):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, "/etc/passwd"
        archive.addfile(entry)
    disk, target = tmp_path / "disk", tmp_path / "stream"
    disk.write_bytes(buffer.getvalue())
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    with pytest.raises(CommandFailed, match="unexpected entry"):
        read_archive(disk, target, len(buffer.getvalue()), digest)
    assert not target.exists()
