"""Merged undo files reach the same points as the files they came from, wherever a crash falls."""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.replication import changeset as cs
from lab.replication.document import DocumentWriter
from lab.replication.master_target.devices import Device, DeviceSet
from lab.replication.master_target.undo import UndoStore, runs

SIZE = 64
writes = st.lists(st.tuples(st.integers(0, SIZE - 8), st.binary(min_size=1, max_size=8)), min_size=1, max_size=4)


class Disk:
    """A replica in a file, its undo log, and what it held after each document."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "disk"
        self.path.write_bytes(bytes(SIZE))
        self.undo = UndoStore(folder / "undo")
        self.history = [bytes(SIZE)]

    def apply(self, sequence: int, changes) -> None:
        sink = io.BytesIO()
        writer = DocumentWriter(sink, cs.Head("s", sequence, "delta", "m", (cs.Disk(0, "vda", SIZE),)))
        for offset, data in changes:
            writer.add(cs.data_frame(0, offset, data))
        writer.end()
        document = self.path.with_name("document")
        document.write_bytes(sink.getvalue())
        device = Device(self.path, SIZE)
        self.undo.record(sequence, document, DeviceSet({0: device}))
        for offset, data in changes:
            device.write(offset, data)
        device.close()
        self.history.append(self.path.read_bytes())

    def rolled_to(self, point: int) -> bytes:
        clone = self.path.with_name("clone")
        shutil.copy(self.path, clone)
        device = Device(clone, SIZE)
        self.undo.roll_back(DeviceSet({0: device}), point)
        device.close()
        return clone.read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.lists(writes, min_size=2, max_size=12), st.data())
def test_every_point_that_stays_is_reached_after_any_merge_and_any_crash(documents, data):
    with tempfile.TemporaryDirectory() as folder:
        disk = Disk(Path(folder))
        for sequence, changes in enumerate(documents, 1):
            disk.apply(sequence, changes)
        newest = len(documents)
        points = sorted({0, newest, *data.draw(st.sets(st.integers(1, newest)))})
        for run in runs(disk.undo.sequences(), points):
            part = disk.undo.merge(run, lambda: False)
            crash = data.draw(st.sampled_from(["none", "before", "between"]))
            if crash == "before":
                disk.undo = UndoStore(Path(folder) / "undo")
            elif crash == "between":
                part.replace(part.with_name(f"{run[-1]:012}.undo"))
                disk.undo = UndoStore(Path(folder) / "undo")
            else:
                disk.undo.adopt(run, part)
            for point in points:
                assert disk.rolled_to(point) == disk.history[point], (run, crash, point)
        for run in runs(disk.undo.sequences(), points):
            disk.undo.adopt(run, disk.undo.merge(run, lambda: False))
        assert not runs(disk.undo.sequences(), points)
        assert not list((Path(folder) / "undo").glob("*.part"))
        for point in points:
            assert disk.rolled_to(point) == disk.history[point]


@pytest.fixture
def disk(tmp_path):
    disk = Disk(tmp_path)
    for sequence in range(1, 4):
        disk.apply(sequence, [(0, bytes([sequence]) * 8)])
    return disk


def test_merging_stops_when_told_and_leaves_everything_as_it_was(disk):
    assert disk.undo.merge([1, 2, 3], lambda: True) is None
    assert sorted(path.name[-6:] for path in disk.path.with_name("undo").iterdir()) == ["1.undo", "2.undo", "3.undo"]


def test_a_full_disk_is_not_filled_by_what_could_not_be_merged(disk, monkeypatch):
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "no space left")))
    with pytest.raises(OSError, match="no space"):
        disk.undo.merge([1, 2, 3], lambda: False)
    assert not list(disk.path.with_name("undo").glob("*.part"))


def test_a_run_that_was_rolled_back_meanwhile_is_not_adopted(disk):
    part = disk.undo.merge([2, 3], lambda: False)
    disk.undo.drop_after(1)
    disk.undo.adopt([2, 3], part)
    assert disk.undo.sequences() == [1]
    assert disk.undo.merge([1, 2], lambda: False) is None


def test_the_merged_file_is_smaller_than_its_parts_and_holds_every_byte_once(disk):
    folder = disk.path.with_name("undo")
    before = sum(path.stat().st_size for path in folder.glob("*.undo"))
    disk.undo.adopt([1, 2, 3], disk.undo.merge([1, 2, 3], lambda: False))
    assert [path.name for path in folder.iterdir()] == ["000000000003.undo"]
    assert sum(path.stat().st_size for path in folder.glob("*.undo")) < before / 2
    assert disk.rolled_to(0) == bytes(SIZE)
