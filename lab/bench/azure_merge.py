"""Azure row: a document of scattered writes merged into a page blob, against the same writes one call each.

Storage is Azurite over TLS, the same process for both. The writes are like those of an application's cut (decision
0011): 4 to 16 KiB, with 4 to 20 KiB between them.
"""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from lab.bench.azure import seconds, storage_account
from lab.bench.rows import Pair, Row, faster_than_peer
from lab.errors import LabError
from lab.replication.changeset import CutTime, Disk, Frame, Head, data_frame
from lab.replication.common.optimised import Optimised
from lab.replication.document import DocumentWriter
from lab.replication.process_server.storage import StorageForwarder
from lab.replication.vault.merger import Merger
from lab.replication.vault.settings import StreamSettings
from lab.replication.vault.storage import Storage

NAME = "azure-merge"
STREAM, BLOB = "s-00000000000000ba", "one-call-each"
DISK_BYTES, BLOCK, WRITES = 64 << 20, 4 << 10, 240
LARGEST, FARTHEST = 4, 5
"""In blocks of 4 KiB: a write, and what lies between two."""


def azure_merge(turns: int) -> Row:
    """Merge documents as the vault does (journal, pages, snapshot), and write their pages one call each.

    Raises:
        LabError: Azurite cannot be installed, or a document was not merged.
    """
    with tempfile.TemporaryDirectory() as name, storage_account(Path(name)) as storage:
        folder = Path(name)
        storage.open_stream(STREAM)
        merger = Merger(folder / "merger", _settings(), storage, lambda _kind, _data: None, settle_s=3600)
        storage.create(BLOB, DISK_BYTES)
        with closing(StorageForwarder(folder, storage.access(STREAM, 3600))) as forwarder:
            # The first turn is not counted: connections and modules are made then.
            pairs = [_turn(number, folder, forwarder, merger, storage) for number in range(1, turns + 2)]
    return faster_than_peer(NAME, "s", pairs[1:])


def _turn(number: int, folder: Path, forwarder: StorageForwarder, merger: Merger, storage: Storage) -> Pair:
    frames = list(_scattered(random.Random(number)))  # noqa: S311 - places of writes, not secrets
    document = _document(folder / "document", number, frames)
    forwarder.send(number, Optimised(lambda: document.open("rb")).parts)
    return seconds(lambda: _merged(merger)), seconds(lambda: _one_by_one(storage, frames))


def _merged(merger: Merger) -> None:
    if not merger.take() or not merger.merge_next():
        raise LabError("the vault merged nothing")


def _one_by_one(storage: Storage, frames: list[Frame]) -> None:
    etag = storage.etag(BLOB) or ""
    for frame in frames:
        etag = storage.write(BLOB, frame.offset, bytes(frame.raw(None)), etag)
    storage.snapshot(BLOB, etag, {})


def _scattered(chance: random.Random) -> Iterator[Frame]:
    offset = BLOCK * chance.randrange(1, 100)
    for _ in range(WRITES):
        data = os.urandom(BLOCK * chance.randint(1, LARGEST))
        yield data_frame(0, offset, data)
        offset += len(data) + BLOCK * chance.randint(1, FARTHEST)


def _document(path: Path, sequence: int, frames: list[Frame]) -> Path:
    cut = CutTime(sequence * 10**9, sequence * 10**9, "2026-01-01T00:00:00Z")
    head = Head(STREAM, sequence, "delta", "app1", (Disk(0, "data", DISK_BYTES),), cut, f"point-{sequence}")
    with path.open("wb") as file:
        writer = DocumentWriter(file, head)
        for frame in frames:
            writer.add(frame)
        writer.end()
    return path


def _settings() -> StreamSettings:
    disk = {"index": 0, "name": "data", "size": DISK_BYTES, "serial": "data"}
    return StreamSettings.from_json({"stream": STREAM, "machine": "app1", "disks": [disk], "retention_s": 3600})
