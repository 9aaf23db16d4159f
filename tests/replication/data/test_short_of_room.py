"""A disk of recovery points that fills up: the oldest points go before their time, replication does not end."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_stream import BLOCK, SIZE, STREAM, document, settings

from lab.replication.common.body import Body
from lab.replication.common.ingest import receive
from lab.replication.master_target import stream as module
from lab.replication.master_target.devices import Device, DeviceSet
from lab.replication.master_target.keeper import SHORT_OF_ROOM
from lab.replication.master_target.room import LARGEST_DOCUMENT, MOST_RESERVED, Room
from lab.replication.master_target.stream import ReplicaStream
from lab.waiting import Deadline, wait_until

GIB = 1 << 30


class Outbox:
    def __init__(self):
        self.removed = []

    def post(self, kind, data, **_):
        if kind == "recovery-points-removed":
            self.removed.append((data["recovery_points"], data["reason"]))


class Tight:
    """Room for so many undo files."""

    def __init__(self, directory: Path, files: int) -> None:
        self._undo = directory / "undo"
        self._files = files

    @property
    def short(self) -> bool:
        return len(list(self._undo.glob("*.undo"))) >= self._files


@pytest.fixture
def replica(tmp_path):
    path = tmp_path / "replica"
    path.write_bytes(bytes(SIZE))
    return path


@pytest.mark.parametrize("files", [1, 3])
def test_the_oldest_points_go_and_what_stays_can_be_reached(tmp_path, replica, monkeypatch, files):
    monkeypatch.setattr(module, "Room", lambda directory: Tight(directory, files))
    outbox = Outbox()
    stream = ReplicaStream(tmp_path / "stream", settings(), lambda _: replica, outbox)
    stream.start()
    try:
        for sequence in range(1, 9):
            content = document(sequence, (0, bytes([sequence]) * BLOCK), kind="delta")
            receive(Body(io.BytesIO(content), len(content)), stream.inbox, STREAM, sequence, 1 << 20)
        wait_until(lambda: stream.inbox.done == 8, Deadline.after(20), "application")
        points = [point.id for point in stream._points.all()]
        assert points == [f"p-{number}" for number in range(8 - files, 9)]
        gone = [point for removed, _ in outbox.removed for point in removed]
        assert gone == [f"p-{number}" for number in range(1, 8 - files)]
        assert {reason for _, reason in outbox.removed} == {SHORT_OF_ROOM}
        oldest = stream._points.find(points[0])
        devices = DeviceSet({0: Device(replica, SIZE)})
        stream._undo.roll_back(devices, oldest.sequence)
        devices.close()
        assert replica.read_bytes()[:BLOCK] == bytes([oldest.sequence]) * BLOCK
    finally:
        stream.close()


def test_the_newest_point_stays_however_little_room_there_is(tmp_path, replica, monkeypatch):
    monkeypatch.setattr(module, "Room", lambda directory: Tight(directory, 0))
    stream = ReplicaStream(tmp_path / "stream", settings(), lambda _: replica, Outbox())
    stream.start()
    try:
        for sequence in (1, 2, 3):
            content = document(sequence, (0, bytes([sequence]) * BLOCK), kind="delta")
            receive(Body(io.BytesIO(content), len(content)), stream.inbox, STREAM, sequence, 1 << 20)
        wait_until(lambda: stream.inbox.done == 3, Deadline.after(20), "application")
        assert [point.id for point in stream._points.all()] == ["p-2", "p-3"]
    finally:
        stream.close()


@pytest.mark.parametrize(
    ("total", "free", "short"),
    [
        (3 * GIB, 3 * GIB // 10 + LARGEST_DOCUMENT - 1, True),
        (3 * GIB, 3 * GIB // 10 + LARGEST_DOCUMENT + 1, False),
        (2000 * GIB, 20 * GIB, False),
        (2000 * GIB, MOST_RESERVED, True),
    ],
)
def test_a_large_disk_is_not_short_of_room_by_its_share_alone(total, free, short):
    assert Room(Path("/"), lambda _: SimpleNamespace(total=total, free=free)).short is short
