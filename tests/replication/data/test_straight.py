"""Copies that go straight to the replica disks: what is written, what is acknowledged, what is left to the spool."""

from __future__ import annotations

import io
import threading

import pytest
from small_stream import BLOCK, SIZE, STREAM, document, settings

from lab.replication.common.body import Body
from lab.replication.common.dataserver import Refused
from lab.replication.common.inbox import Sealed
from lab.replication.common.ingest import receive
from lab.replication.digests import ChunkDigests
from lab.replication.master_target.devices import BadDevice, Device
from lab.replication.master_target.straight import receive_straight
from lab.replication.master_target.stream import ReplicaStream
from lab.waiting import Deadline, wait_until

OLD, NEW = b"o" * BLOCK, b"n" * BLOCK


class Outbox:
    def post(self, *_, **__):
        pass


class Failing(Device):
    broken = False

    def flush(self):
        if self.broken:
            raise BadDevice("no room")
        super().flush()


@pytest.fixture
def replica(tmp_path):
    path = tmp_path / "replica"
    path.write_bytes(bytes(SIZE))
    return path


@pytest.fixture
def stream(tmp_path, replica):
    found = ReplicaStream(tmp_path / "stream", settings(), lambda _: replica, Outbox(), Failing)
    found.start()
    yield found
    Failing.broken = False
    found.close()


def body(content, *, chunked=False):
    if not chunked:
        return Body(io.BytesIO(content), len(content))
    pieces = [content[at : at + 1000] for at in range(0, len(content), 1000)]
    wire = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    return Body(io.BytesIO(wire), None)


def spooled(stream):
    return [path.name for path in (stream._directory / "spool").iterdir() if path.suffix in {".doc", ".part"}]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_copy_is_on_the_disk_when_it_is_acknowledged(stream, replica, tmp_path, chunked):
    content = body(document(1, (0, NEW), (8 * BLOCK, OLD)), chunked=chunked)
    assert receive_straight(content, stream, 1).status == 201
    assert content.at_end
    assert (replica.read_bytes()[:BLOCK], replica.read_bytes()[8 * BLOCK : 9 * BLOCK]) == (NEW, OLD)
    assert (stream.status()["applied"], stream.status()["expected"]) == (1, 2)
    assert spooled(stream) == []
    # Also for whoever starts again on what is on disk.
    again = ReplicaStream(tmp_path / "stream", settings(), lambda _: replica, Outbox())
    assert again.inbox.received == 1
    assert receive_straight(body(document(1, (0, OLD))), stream, 1).status == 200
    assert replica.read_bytes()[:BLOCK] == NEW


@pytest.mark.parametrize("chunked", [False, True])
def test_a_delta_is_left_to_the_spool_as_it_came(stream, replica, chunked):
    content = body(document(1, (0, NEW), kind="delta"), chunked=chunked)
    assert receive_straight(content, stream, 1) is None
    assert replica.read_bytes()[:BLOCK] == bytes(BLOCK)
    assert receive(content, stream.inbox, STREAM, 1, 1 << 20).status == 201
    wait_until(lambda: stream.inbox.done == 1, Deadline.after(20), "application")
    assert replica.read_bytes()[:BLOCK] == NEW
    # From the first point on there is something to go back to: copies of a comparison are spooled.
    assert not stream.takes_straight
    assert receive_straight(body(document(2, (0, OLD))), stream, 2) is None


def test_a_damaged_document_is_not_acknowledged_and_its_bad_part_not_written(stream, replica):
    content = bytearray(document(1, (0, NEW), (BLOCK, NEW)))
    content[content.rindex(NEW) + 7] ^= 1
    with pytest.raises(Refused) as refused:
        receive_straight(body(bytes(content)), stream, 1)
    assert refused.value.status == 400
    assert stream.inbox.received == 0
    assert replica.read_bytes()[BLOCK : 2 * BLOCK] == bytes(BLOCK)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_document_that_ends_early_is_incomplete_and_comes_again(stream, replica, chunked):
    whole = document(1, (0, NEW), (BLOCK, NEW))
    wire = body(whole, chunked=chunked)._source.getvalue()
    cut = Body(io.BytesIO(wire[:-60]), None if chunked else len(wire))
    with pytest.raises(Refused) as refused:
        receive_straight(cut, stream, 1)
    assert refused.value.body["error"]["type"] == "incomplete"
    assert stream.inbox.received == 0
    assert receive_straight(body(whole), stream, 1).status == 201
    assert replica.read_bytes()[: 2 * BLOCK] == NEW + NEW


def test_another_document_than_announced_and_a_gap_are_refused(stream):
    for sequence, status in ((1, 400), (3, 409)):
        with pytest.raises(Refused) as refused:
            receive_straight(body(document(2, (0, NEW))), stream, sequence)
        assert refused.value.status == status


def test_what_is_not_flushed_is_not_acknowledged(stream):
    Failing.broken = True
    with pytest.raises(Refused) as refused:
        receive_straight(body(document(1, (0, NEW))), stream, 1)
    assert refused.value.status == 503
    assert stream.inbox.received == 0


def test_a_sender_that_compares_or_begins_again_is_not_overwritten_by_what_it_sent_before(stream, replica):
    """A connection that broke may have bytes left; they are of the attempt before."""
    begins = (lambda: stream.compare(0, BLOCK, 0, ChunkDigests(BLOCK).of(OLD)), stream.begin_passage)
    for begin_again in begins:
        stale = stream.begin_passage()
        begin_again()
        with pytest.raises(Sealed), stream.passage(stale) as devices:
            devices[0].write(0, OLD)
        with pytest.raises(Sealed):
            stream.end_passage(stale, 1)
    assert replica.read_bytes()[:BLOCK] == bytes(BLOCK)


def test_a_stream_that_is_sealed_or_closed_takes_nothing_more(stream, replica):
    number = stream.begin_passage()
    stream.inbox.seal()
    with pytest.raises(Sealed):
        stream.end_passage(number, 1)
    stream.inbox.unseal()
    stream.close()
    with pytest.raises(Sealed), stream.passage(number) as devices:
        devices[0].write(0, NEW)
    assert replica.read_bytes()[:BLOCK] == bytes(BLOCK)


def test_a_hold_stops_a_copy_until_it_is_lifted(stream, replica):
    stream.hold(hold=True)
    copying = threading.Thread(target=receive_straight, args=(body(document(1, (0, NEW))), stream, 1))
    copying.start()
    copying.join(0.3)
    assert copying.is_alive()
    assert replica.read_bytes()[:BLOCK] == bytes(BLOCK)
    stream.hold(hold=False)
    copying.join(20)
    assert replica.read_bytes()[:BLOCK] == NEW
