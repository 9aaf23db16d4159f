"""What a cached stream relies on, of both places where its documents can go (the master target's and Azure's)."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import ClassVar

import pytest
from logs import STREAM

from conftest import needs_node
from lab.replication.common.ahead import ahead
from lab.replication.common.config import Endpoint
from lab.replication.common.link import Reply
from lab.replication.common.optimised import Pieces
from lab.replication.process_server import forwarding
from lab.replication.process_server.forwarding import Forwarder, MasterTargetForwarder, NotTaken
from lab.replication.process_server.storage import StorageForwarder

DIGEST = bytes(32)


class FakeLink:
    """A master target that can be down."""

    down = False
    received: ClassVar[dict[str, bytes]] = {}

    def __init__(self, *_: object) -> None:
        self.closed = False

    def send(self, method, path, body) -> Reply:
        self._up()
        content = b"".join(bytes(part) for part in body.parts())
        if method == "POST":
            return Reply(200, json.dumps({"differ": [7]}).encode())
        FakeLink.received[path] = content
        return Reply(201, b"")

    def call(self, method, path) -> Reply:
        self._up()
        return Reply(200, json.dumps({"applied": len(FakeLink.received)}).encode())

    def _up(self) -> None:
        if FakeLink.down or self.closed:
            raise forwarding.Unreachable("down")

    def abort(self) -> None:
        self.closed = True

    close = abort


class Place:
    """A forwarder with ways to look behind it and to take the other side away."""

    def __init__(self, forwarder: Forwarder, received, fail, kept) -> None:
        self.forwarder, self.received, self.fail, self.kept = forwarder, received, fail, kept


@pytest.fixture(params=["master target", pytest.param("storage", marks=needs_node)])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch) -> Place:
    if request.param == "master target":
        monkeypatch.setattr(forwarding, "Link", FakeLink)
        FakeLink.down, FakeLink.received = False, {}
        forwarder = MasterTargetForwarder(STREAM, Endpoint("192.0.2.1", 9444), None)
        return Place(
            forwarder,
            lambda number: FakeLink.received[f"/v1/streams/{STREAM}/{number}"],
            lambda: setattr(FakeLink, "down", True),
            lambda number: None,
        )
    monkeypatch.setattr("lab.replication.process_server.storage.LOOK_S", 0.0)
    local = request.getfixturevalue("azurite")
    storage = request.getfixturevalue("open_azure")(local)
    storage.open_stream(STREAM)

    def received(number: int) -> bytes:
        assert storage.fetch(STREAM, number, tmp_path / "log")
        return (tmp_path / "log").read_bytes()

    forwarder = StorageForwarder(tmp_path, storage.access(STREAM, 600))
    return Place(forwarder, received, local.kill, lambda number: storage.mark(STREAM, number))


def test_a_document_arrives_as_it_is_and_may_be_sent_again(place: Place) -> None:
    for _ in range(2):
        place.forwarder.send(1, lambda: iter([b"one", bytearray(b"two"), memoryview(b"three")]))
        assert place.received(1) == b"onetwothree"
    place.forwarder.close()


def test_what_the_other_side_keeps_may_be_forgotten(place: Place) -> None:
    place.forwarder.send(1, lambda: [b"x"])
    place.kept(1)
    assert place.forwarder.standing(0, 1) == forwarding.Standing(1, 1)
    assert place.forwarder.applied(1)
    place.forwarder.close()


def test_a_comparison_names_chunks(place: Place) -> None:
    place.forwarder.send(1, lambda: [b"x"])
    reply = place.forwarder.compare("disk=0&chunk=4096&first=7", DIGEST)
    assert reply.json == {"differ": [7]}
    place.forwarder.close()


def test_without_the_other_side_nothing_is_taken(place: Place) -> None:
    place.fail()
    with pytest.raises(NotTaken) as refused:
        place.forwarder.send(1, lambda: [b"x"])
    assert "sig=" not in str(refused.value).replace("sig=...", "")
    place.forwarder.close()


def test_after_an_abort_everything_is_refused(place: Place) -> None:
    place.forwarder.abort()
    with pytest.raises(NotTaken):
        place.forwarder.send(1, lambda: [b"x"])
    place.forwarder.close()


def test_pieces_are_read_in_the_sizes_that_are_asked_for() -> None:
    pieces = Pieces(iter([b"abc", bytearray(b"defg"), memoryview(b"h")]))
    assert [pieces.read(2), pieces.read(4), pieces.read(9), pieces.read(1)] == [b"ab", b"cdef", b"gh", b""]
    assert Pieces(iter([b"ab", b"c"])).read() == b"abc"


def test_pieces_made_ahead_are_the_same_and_errors_come_where_they_are_taken() -> None:
    def broken():
        yield b"one"
        raise OSError("the disk is gone")

    with ahead(iter([b"%d" % number for number in range(200)])) as pieces:
        assert list(pieces) == [b"%d" % number for number in range(200)]
    with pytest.raises(OSError, match="the disk is gone"), ahead(broken()) as pieces:
        list(pieces)


def test_pieces_that_nobody_takes_any_more_keep_no_thread() -> None:
    before = threading.active_count()
    with ahead(iter([b"x"] * 1000)) as pieces:
        assert next(pieces) == b"x"
    assert threading.active_count() == before
