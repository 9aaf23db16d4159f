"""A real Azurite is killed in mid-delta: it forgets seconds of what it acknowledged, and nothing is lost."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import pytest
from logs import SIZES, STREAM, Source, settings

from conftest import needs_node
from lab.emulators.azurite.service import LocalAzurite
from lab.replication.process_server.forwarding import NotTaken
from lab.replication.process_server.storage import StorageForwarder
from lab.replication.vault.merger import Merger
from lab.replication.vault.storage import StorageError

pytestmark = needs_node
WRITES_BEFORE_THE_KILL = 5


class Uplink:
    """The process server's side: sends what is not kept, and forgets only what is."""

    def __init__(self, folder: Path, source: Source, storage) -> None:
        self.source, self.kept, self.sent = source, 0, 0
        self.forwarder = StorageForwarder(folder, storage.access(STREAM, 3600))

    def send_all(self) -> None:
        last = max(self.source.documents)
        while self.sent < last:
            content = self.source.documents[self.sent + 1]
            self.forwarder.send(self.sent + 1, lambda content=content: io.BytesIO(content))
            self.sent += 1

    def follow(self) -> None:
        standing = self.forwarder.standing(self.kept, self.sent)
        self.kept, self.sent = max(standing.kept, self.kept), max(standing.sent, self.kept)


def run(merger: Merger) -> None:
    while merger.take() or merger.merge_next():
        pass


def digests(storage, merger: Merger) -> dict[tuple[int, int], str]:
    found = {}
    for each in merger.state.points:
        for index, snapshot in each.snapshots.items():
            content = storage.read(merger.settings.blobs[index], 0, SIZES[index], snapshot)
            found[each.sequence, index] = hashlib.sha256(content).hexdigest()
    for index, blob in merger.settings.blobs.items():
        found[0, index] = hashlib.sha256(storage.read(blob, 0, SIZES[index])).hexdigest()
    return found


def expected(source: Source, merger: Merger) -> dict[tuple[int, int], str]:
    wanted = {
        (each.sequence, index): hashlib.sha256(source.images[each.sequence][index]).hexdigest()
        for each in merger.state.points
        for index in SIZES
    }
    last = source.images[max(source.images)]
    return {**wanted, **{(0, index): hashlib.sha256(last[index]).hexdigest() for index in SIZES}}


def saved(azurite: LocalAzurite) -> dict[Path, bytes]:
    """What it has on its disk of blobs and their pages."""
    return {path: path.read_bytes() for path in azurite.azurite.data.glob("*.json")}


def kill_unsaved(azurite: LocalAzurite, before: dict[Path, bytes]) -> None:
    """End it as SIGKILL does before it has saved again: it saves every few seconds, and a slow test would meet that."""
    azurite.kill()
    for path, content in before.items():
        path.write_bytes(content)


def test_nothing_is_lost_when_azurite_is_killed_in_the_middle_of_a_delta(azurite, open_azure, tmp_path) -> None:
    storage, source, events = open_azure(azurite), Source(), []
    storage.open_stream(STREAM)
    merger = Merger(tmp_path / "vault", settings(), storage, lambda *event: events.append(event), settle_s=3600)
    uplink = Uplink(tmp_path, source, storage)
    source.delta(20, point=False)
    for _ in range(3):
        source.delta()
    uplink.send_all()
    run(merger)
    azurite.stop()
    before = saved(azurite)
    azurite.start()
    # From here on nothing is on Azurite's disk before it is killed: three points and half a delta will be gone.
    for _ in range(3):
        source.delta()
    uplink.send_all()
    run(merger)
    assert merger.state.merged == 7
    source.delta(60)
    uplink.send_all()
    merger.take()
    real, writes = storage.write, []

    def write_and_kill(*arguments):
        etag = real(*arguments)
        writes.append(etag)
        if len(writes) == WRITES_BEFORE_THE_KILL:
            kill_unsaved(azurite, before)
        return etag

    storage.write = write_and_kill
    with pytest.raises(StorageError):
        merger.merge_next()
    azurite.start()
    del storage.write
    etag = merger.state.etags[0]
    assert storage.etag(merger.settings.blobs[0]) not in (None, etag), "Azurite has forgotten nothing"
    source.delta()
    uplink.send_all()
    run(merger)
    assert merger.state.merged == max(source.documents) == 9
    assert [each.sequence for each in merger.state.points] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert digests(storage, merger) == expected(source, merger)


def test_without_the_journal_it_would_be_lost(azurite, open_azure, tmp_path, monkeypatch) -> None:
    """The test above can fail: a vault that forgets a document once it is merged does not get it back."""
    merge = Merger._merge

    def merge_and_forget(self: Merger, sequence: int, document: Path) -> None:
        merge(self, sequence, document)
        self.journal.finish(sequence)

    monkeypatch.setattr(Merger, "_merge", merge_and_forget)
    with pytest.raises(AssertionError):
        test_nothing_is_lost_when_azurite_is_killed_in_the_middle_of_a_delta(azurite, open_azure, tmp_path)


def test_a_log_that_azurite_has_forgotten_is_sent_again(azurite, open_azure, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("lab.replication.process_server.storage.LOOK_S", 0.0)
    monkeypatch.setattr("lab.replication.process_server.storage.MISSED_S", 0.0)
    storage, source = open_azure(azurite), Source()
    storage.open_stream(STREAM)
    merger = Merger(tmp_path / "vault", settings(), storage, lambda *_: None, settle_s=3600)
    uplink = Uplink(tmp_path, source, storage)
    source.delta()
    uplink.send_all()
    run(merger)
    uplink.follow()
    assert (uplink.kept, uplink.sent) == (1, 1)
    azurite.stop()
    before = saved(azurite)
    azurite.start()
    source.delta()
    uplink.send_all()
    kill_unsaved(azurite, before)
    with pytest.raises(NotTaken):
        uplink.follow()
    azurite.start()
    assert storage.logs(STREAM) == [], "Azurite has forgotten nothing"
    uplink.follow()
    uplink.follow()
    assert (uplink.kept, uplink.sent) == (1, 1), "the log is gone, so it is to be sent again"
    uplink.send_all()
    run(merger)
    uplink.follow()
    assert (uplink.kept, uplink.sent) == (2, 2)
    assert digests(storage, merger) == expected(source, merger)


def test_a_container_that_azurite_has_forgotten_is_made_anew(azurite, open_azure, tmp_path) -> None:
    storage, source = open_azure(azurite), Source()
    merger = Merger(tmp_path / "vault", settings(), storage, lambda *_: None, settle_s=3600)
    azurite.stop()
    before = saved(azurite)
    azurite.start()
    storage.open_stream(STREAM)
    kill_unsaved(azurite, before)
    azurite.start()
    merger.take()
    uplink = Uplink(tmp_path, source, storage)
    source.delta()
    uplink.send_all()
    run(merger)
    assert digests(storage, merger) == expected(source, merger)
