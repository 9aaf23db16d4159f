"""The merger against a storage that forgets: by digest, for every interruption that can be thought of."""

from __future__ import annotations

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from logs import SIZES, STREAM, Source
from logs import settings as stream_settings

from lab.replication.vault.memory import MemoryStorage
from lab.replication.vault.merger import Merger
from lab.replication.vault.storage import StorageError


class Side:
    """A merger with its storage and what it has published."""

    def __init__(self, folder: Path, settle_s: float = 0.0, **more: object) -> None:
        self.folder, self.settle_s, self.more = folder, settle_s, more
        self.storage = MemoryStorage()
        self.storage.open_stream(STREAM)
        self.events: list[tuple[str, dict]] = []
        self.pinned: frozenset[str] = frozenset()
        self.restart()

    def restart(self) -> None:
        self.merger = Merger(
            self.folder,
            stream_settings(**self.more),
            self.storage,
            lambda kind, data: self.events.append((kind, data)),
            settle_s=self.settle_s,
            pinned=lambda: self.pinned,
        )

    def send(self, source: Source, sequence: int) -> None:
        self.storage.upload(STREAM, sequence, source.documents[sequence])

    def run(self) -> None:
        while self.merger.take() or self.merger.merge_next():
            pass

    def check(self, source: Source) -> None:
        last = self.merger.state.merged
        assert last == max(source.documents)
        for index, blob in self.merger.settings.blobs.items():
            assert self.storage.read(blob, 0, SIZES[index]) == source.images[last][index]
        for index, blob in self.merger.settings.blobs.items():
            known = {each.snapshots[index] for each in self.merger.state.points}
            assert self.storage.snapshots(blob) == known, "a snapshot that is no point costs space for ever"
        for each in self.merger.state.points:
            for index, snapshot in each.snapshots.items():
                content = self.storage.read(self.merger.settings.blobs[index], 0, SIZES[index], snapshot)
                assert content == source.images[each.sequence][index], (each.sequence, index)

    def points(self) -> list[str]:
        return [each.id for each in self.merger.state.points]


def test_documents_become_blobs_and_points(tmp_path: Path) -> None:
    side, source = Side(tmp_path), Source()
    for _ in range(2):
        side.send(source, source.delta(point=False))
    for _ in range(3):
        side.send(source, source.delta())
    side.run()
    side.check(source)
    assert side.points() == ["point-3", "point-4", "point-5"]
    assert [data["recovery_point"] for kind, data in side.events if kind == "recovery-point"] == side.points()
    assert side.storage.logs(STREAM) == []
    assert side.storage.marked(STREAM) == 5


def test_a_log_out_of_order_waits_for_the_one_before_it(tmp_path: Path) -> None:
    side, source = Side(tmp_path), Source()
    for _ in range(3):
        source.delta()
    side.send(source, 1)
    side.send(source, 3)
    side.run()
    assert side.merger.state.merged == 1
    assert side.storage.logs(STREAM) == [3]
    side.send(source, 2)
    side.run()
    side.check(source)


def test_a_damaged_log_is_removed_so_that_it_is_sent_again(tmp_path: Path) -> None:
    side, source = Side(tmp_path), Source()
    source.delta()
    side.storage.upload(STREAM, 1, source.documents[1][:-7])
    side.run()
    assert side.storage.logs(STREAM) == []
    assert side.storage.marked(STREAM) == 0
    side.send(source, 1)
    side.run()
    side.check(source)


def test_a_log_that_comes_twice_is_taken_once(tmp_path: Path) -> None:
    side, source = Side(tmp_path), Source()
    side.send(source, source.delta())
    side.run()
    side.send(source, 1)
    side.run()
    side.check(source)
    assert side.storage.logs(STREAM) == []


def test_the_journal_is_kept_until_a_snapshot_has_settled(tmp_path: Path) -> None:
    side, source = Side(tmp_path, settle_s=3600), Source()
    side.send(source, source.delta(point=False))
    side.send(source, source.delta())
    side.run()
    side.merger.settle()
    assert side.merger.journal.done == 0
    side.settle_s = 0.0
    side.restart()
    side.merger.settle()
    assert side.merger.journal.done == 2
    side.send(source, source.delta(point=False))
    side.run()
    side.merger.settle()
    assert side.merger.journal.done == 2, "no snapshot has document 3"


STEP = st.sampled_from(["document", "point", "merge", "merge", "save", "lose", "settle", "restart", "down", "prune"])
# Examples that hypothesis makes are short on their own; what goes wrong needs several documents and losses.
STEPS = st.lists(STEP, min_size=20, max_size=40)


@given(steps=STEPS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_lost_whenever_nothing_is_missing_in_the_end(tmp_path_factory, steps: list[str]) -> None:
    side, source = Side(tmp_path_factory.mktemp("side"), retention_s=20), Source()
    for step in steps:
        take_step(side, source, step)
    if not source.documents:
        source.delta()
    for _ in range(3):
        resend(side, source)
        side.run()
        side.merger.verify()
    side.check(source)
    announced = {data["recovery_point"] for kind, data in side.events if kind == "recovery-point"}
    assert set(side.points()) <= announced
    assert not [kind for kind, _ in side.events if kind == "resynchronisation-required"]


def take_step(side: Side, source: Source, step: str) -> None:
    if step in ("document", "point"):
        source.delta(3, point=step == "point", largest=8)
    elif step == "merge":
        resend(side, source)
        side.merger.take()
        side.merger.merge_next()
    elif step == "settle":
        # What has settled survives: that is what the settle time is for.
        side.storage.save()
        side.merger.settle()
    elif step == "down":
        break_off(side)
    else:
        {"save": side.storage.save, "lose": side.storage.lose, "restart": side.restart, "prune": side.merger.prune}[
            step
        ]()


def resend(side: Side, source: Source) -> None:
    """What the process server does: everything that is not known to be kept is in the container."""
    try:
        present = side.storage.logs(STREAM)
    except Exception:  # noqa: BLE001 - the container is lost: the merger makes it anew
        side.merger.take()
        present = side.storage.logs(STREAM)
    for sequence in source.documents:
        if sequence > side.storage.marked(STREAM) and sequence not in present:
            side.send(source, sequence)


def break_off(side: Side) -> None:
    side.storage.down = True
    try:
        side.merger.merge_next()
    except StorageError:
        pass
    finally:
        side.storage.down = False


def test_points_are_pruned_but_not_the_one_that_the_journal_goes_on_from(tmp_path: Path) -> None:
    side, source = Side(tmp_path, retention_s=0), Source()
    for _ in range(3):
        side.send(source, source.delta())
    side.run()
    side.merger.prune()
    assert side.points() == ["point-1", "point-2", "point-3"], "nothing has settled"
    side.merger.settle()
    side.pinned = frozenset({"point-1"})
    side.merger.prune()
    assert side.points() == ["point-1", "point-3"]
    side.pinned = frozenset()
    side.merger.prune()
    assert side.points() == ["point-3"]
    assert {len(side.storage.snapshots(blob)) for blob in side.merger.settings.blobs.values()} == {1}
    removed = [data["recovery_points"] for kind, data in side.events if kind == "recovery-points-removed"]
    assert removed == [["point-2"], ["point-1"]]


def test_a_storage_that_loses_what_had_settled_asks_for_a_resynchronisation(tmp_path: Path) -> None:
    side, source = Side(tmp_path), Source()
    side.send(source, source.delta())
    side.run()
    side.merger.settle()
    for blob in side.merger.settings.blobs.values():
        side.storage.delete(blob)
    side.merger.verify()
    assert [kind for kind, _ in side.events][-2:] == ["resynchronisation-required", "recovery-points-removed"]
    assert side.points() == []


def test_a_crash_between_snapshots_and_their_record_leaves_no_stranger(tmp_path: Path) -> None:
    side, source = Side(tmp_path), Source()
    side.send(source, source.delta())
    side.run()
    record = (tmp_path / "merged.json").read_bytes()
    side.send(source, source.delta())
    side.run()
    (tmp_path / "merged.json").write_bytes(record)
    side.restart()
    side.run()
    side.check(source)
    assert side.points() == ["point-1", "point-2"]
