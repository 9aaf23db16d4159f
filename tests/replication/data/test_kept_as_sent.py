"""What a process server keeps is sent as it was kept, and what another document says of itself changes nothing."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path

import pytest

from lab.replication import changeset as cs
from lab.replication.common.body import Body
from lab.replication.common.config import Endpoint
from lab.replication.common.dataserver import Refused
from lab.replication.common.ingest import receive
from lab.replication.document import DocumentWriter
from lab.replication.process_server.forwarding import Standing
from lab.replication.process_server.settings import StreamSettings
from lab.replication.process_server.statistics import Statistics
from lab.replication.process_server.stream import CACHE, CachedStream
from lab.waiting import Deadline, wait_until

DOCUMENT = "000000000001.doc"
ROOM = 1 << 30
CONTENT = b"the same again " * 4096


class Forwarder:
    """Takes all that it is sent."""

    name = "master_target"

    def __init__(self) -> None:
        self.sent: dict[int, bytes] = {}

    def send(self, sequence, parts) -> None:
        self.sent[sequence] = b"".join(bytes(part) for part in parts())

    def standing(self, kept: int, sent: int) -> Standing:
        del kept
        return Standing(sent, sent)

    def abort(self) -> None: ...

    def close(self) -> None: ...


def document(sequence: int) -> bytes:
    sink = io.BytesIO()
    writer = DocumentWriter(sink, cs.Head("s", sequence, "delta", "app1", (cs.Disk(0, "vda", 1 << 20),)))
    writer.add(cs.data_frame(0, 0, CONTENT))
    writer.end()
    return sink.getvalue()


def opened(folder: Path, forwarder: Forwarder) -> CachedStream:
    settings = StreamSettings("s", "app1", 9443, Endpoint("127.0.0.1", 1))
    statistics = Statistics(folder / "statistics.jsonl")
    return CachedStream(folder, settings, forwarder, statistics=statistics, noted=lambda _: None)  # type: ignore[arg-type]


def put(stream: CachedStream, announced: int, content: bytes) -> None:
    body = Body(io.BytesIO(content), len(content))
    receive(body, stream.inbox, "s", announced, ROOM, keep=partial(stream.keep, announced))


def forwarded(stream: CachedStream, forwarder: Forwarder, count: int) -> dict[int, bytes]:
    stream.start()
    try:
        wait_until(lambda: len(forwarder.sent) == count, Deadline.after(20), f"{count} documents", every=0.01)
    finally:
        stream.close()
    return forwarder.sent


def test_a_document_leaves_as_it_was_kept(tmp_path: Path) -> None:
    forwarder = Forwarder()
    stream = opened(tmp_path, forwarder)
    put(stream, 1, document(1))
    kept = (tmp_path / CACHE / DOCUMENT).read_bytes()
    assert len(kept) < len(CONTENT)
    assert forwarded(stream, forwarder, 1) == {1: kept}


def test_one_that_claims_to_be_another_does_not_make_that_one_leave_uncompressed(tmp_path: Path) -> None:
    (tmp_path / CACHE).mkdir()
    (tmp_path / CACHE / DOCUMENT).write_bytes(document(1))  # from before a restart, by somebody who does not compress
    forwarder = Forwarder()
    stream = opened(tmp_path, forwarder)
    with pytest.raises(Refused):
        put(stream, 2, document(1))
    assert len(forwarded(stream, forwarder, 1)[1]) < len(CONTENT)
