"""Who may send, and what is refused: process server and master target in this process, real TLS and HTTP."""

from __future__ import annotations

import io
import json
import struct
import time

import pytest
from stack import MIB, MT, PS, Stack

from lab.replication import changeset as cs
from lab.replication.common.control import ControlClient
from lab.replication.common.link import Body
from lab.replication.common.outbox import Outbox
from lab.replication.common.tls import client_context
from lab.replication.digests import ChunkDigests
from lab.replication.document import DocumentWriter
from lab.replication.master_target.server import MasterTarget
from lab.replication.process_server.server import ProcessServer
from lab.waiting import Deadline, wait_until

STREAM = "app1-stream-1"
POINT = "{}-{}".format


class Pair:
    def __init__(self, stack):
        self.stack = stack
        stack.create([MIB])
        outboxes = [self.outbox(component) for component in (MT, PS)]
        self.mt = MasterTarget(stack.config_of(MT), outboxes[0], lambda serial: stack.replicas / serial)
        self.ps = ProcessServer(stack.config_of(PS), outboxes[1])
        self.mt.start()
        self.ps.start()
        self.open()

    def outbox(self, component):
        config = self.stack.config_of(component)
        client = ControlClient(config.configuration_server, client_context(config.identity_dir))
        return Outbox(config.state_dir / "outbox", client)

    def open(self, **more):
        ports = self.stack.ports
        disk = {"index": 0, "name": "vda", "serial": "replica-0", "size": MIB}
        self.mt.open_stream(
            {
                "stream": STREAM,
                "machine": "app1",
                "data_port": ports[MT],
                "disks": [disk],
                "retention_s": 3600,
                "process_server": "ps1",
                **more,
            }
        )
        target = {"name": "mt1", "address": "127.0.0.1", "port": ports[MT]}
        self.ps.open_stream({"stream": STREAM, "machine": "app1", "data_port": ports[PS], "master_target": target})

    def close(self):
        self.ps.close()
        self.mt.close()


@pytest.fixture
def pair(tmp_path, authority, control):
    stack = Stack(tmp_path, authority, control)
    built = Pair(stack)
    yield built
    built.close()
    stack.close()


def document(sequence, writes=(), *, kind="delta", point=True, stream=STREAM, begin_ns=1 << 62):
    sink = io.BytesIO()
    head = cs.Head(
        stream,
        sequence,
        kind,
        "app1",
        (cs.Disk(0, "vda", MIB),),
        cs.CutTime(begin_ns, begin_ns, "then") if kind == "delta" else None,
        POINT(stream, sequence) if point and kind == "delta" else None,
    )
    writer = DocumentWriter(sink, head)
    for offset, data in writes:
        writer.add(cs.data_frame(0, offset, data))
    writer.end()
    return sink.getvalue()


def put(link, sequence, data):
    return link.send("PUT", f"/v1/streams/{STREAM}/{sequence}", Body(lambda: [data] if data else [], len(data)))


def applied(pair, sequence):
    stream = pair.mt._streams[STREAM]
    wait_until(lambda: stream.inbox.done >= sequence, Deadline.after(20), f"document {sequence}")


@pytest.mark.parametrize(
    ("server", "kind", "name"),
    [
        (PS, "mobility", "app2"),
        (PS, "process-server", "ps1"),
        (PS, "operator", "app1"),
        (MT, "mobility", "app1"),
        (MT, "process-server", "ps2"),
        (MT, "master-target", "mt1"),
    ],
)
def test_other_peers_are_refused(pair, server, kind, name):
    link = pair.stack.link(kind, name, pair.stack.ports[server])
    assert put(link, 1, document(1)).status == 403
    assert link.call("GET", f"/v1/streams/{STREAM}").status == 403
    assert link.call("POST", f"/v1/streams/{STREAM}/compare?disk=0&chunk=4096&first=0").status == 403


def test_without_a_certificate_nobody_is_served(pair, authority):
    import ssl

    from lab.replication.common.config import Endpoint
    from lab.replication.common.link import Link, Unreachable

    context = ssl.create_default_context(cadata=authority.pem.decode())
    link = Link(Endpoint("127.0.0.1", pair.stack.ports[PS]), context, 20)
    with pytest.raises(Unreachable):
        link.call("GET", "/v1/statistics")
    link.close()


def test_damaged_documents_are_refused_and_the_good_one_is_then_taken(pair):
    link = pair.stack.link("mobility", "app1", pair.stack.ports[PS])
    good = document(1, [(0, b"x" * 512)])
    flipped = bytearray(good)
    flipped[-90] ^= 4
    for bad in (good[:-1], bytes(flipped), good + b"\0", b"", document(2), document(1, stream="other")):
        assert put(link, 1, bad).status == 400
    assert put(link, 1, good).status == 201
    assert put(link, 1, good).status == 200
    reply = put(link, 3, document(3))
    assert (reply.status, reply.json["expected"]) == (409, 2)
    applied(pair, 1)
    assert pair.stack.replica(0).read_bytes()[:512] == b"x" * 512


def test_a_full_cache_asks_to_come_back(pair):
    pair.ps._quota = 100
    link = pair.stack.link("mobility", "app1", pair.stack.ports[PS])
    reply = put(link, 1, document(1, [(0, b"x" * 512)]))
    assert (reply.status, reply.retry_after) == (507, 5)


def test_compare_finds_the_chunks_that_differ(pair):
    link = pair.stack.link("mobility", "app1", pair.stack.ports[PS])
    put(link, 1, document(1, [(8192, b"x" * 4096)], kind="copy"))
    chunks = ChunkDigests(4096)
    zero, x = chunks.of(bytes(4096)), chunks.of(b"x" * 4096)
    digests = zero + x + x + x
    path = f"/v1/streams/{STREAM}/compare?disk=0&chunk=4096&first=0"
    reply = link.send("POST", path, Body(lambda: [digests], len(digests)))
    assert reply.json == {"differ": [1, 3]}
    assert link.call("POST", f"/v1/streams/{STREAM}/compare?disk=9&chunk=4096&first=0").status == 400


def feed(pair, *documents):
    link = pair.stack.link("process-server", "ps1", pair.stack.ports[MT])
    for sequence, data in documents:
        assert put(link, sequence, data).status == 201
    applied(pair, documents[-1][0])


def roll(pair, sequence, serial):
    pair.mt.roll(
        {"stream": STREAM, "recovery_point": POINT(STREAM, sequence), "disks": [{"index": 0, "serial": serial}]}
    )


def test_documents_without_a_point_are_undone_with_the_next_one(pair):
    states = {}
    for sequence in range(1, 6):
        data = struct.pack("<Q", sequence) * 64
        feed(pair, (sequence, document(sequence, [(512 * (sequence % 2), data)], point=sequence in (1, 4))))
        states[sequence] = pair.stack.replica(0).read_bytes()
    (pair.stack.replicas / "clone").write_bytes(states[5])
    roll(pair, 4, "clone")
    assert (pair.stack.replicas / "clone").read_bytes() == states[4]
    roll(pair, 1, "clone")
    assert (pair.stack.replicas / "clone").read_bytes() == states[1]
    assert pair.stack.replica(0).read_bytes() == states[5]


def test_applying_again_after_a_crash_never_touches_a_complete_undo_file(pair):
    feed(pair, (1, document(1, [(0, b"a" * 512)])), (2, document(2, [(0, b"b" * 512)])))
    stream = pair.mt._streams[STREAM]
    # What a crash between writing and noting leaves: the document still there, the device already new.
    part = stream.inbox.part()
    part.write_bytes(document(2, [(0, b"b" * 512)]))
    stream._apply(2, part)
    roll(pair, 1, "replica-0")
    assert pair.stack.replica(0).read_bytes()[:512] == b"a" * 512


def test_points_older_than_the_retention_go_and_are_announced(pair):
    pair.open(retention_s=60)
    second = 1_000_000_000
    old = int(time.time()) * second
    ends = {1: old - 200 * second, 2: old - 100 * second, 3: old - 10 * second}
    feed(pair, *[(n, document(n, [(0, bytes([n]) * 512)], begin_ns=end)) for n, end in ends.items()])
    stream = pair.mt._streams[STREAM]
    wait_until(lambda: len(stream._points.all()) == 1, Deadline.after(10), "pruning")
    assert [point.sequence for point in stream._points.all()] == [3]
    assert stream._undo.sequences() == []
    posted = [json.loads(path.read_text()) for path in sorted(stream._outbox._directory.glob("[0-9]*.json"))]
    removed = [item for event in posted for item in event["data"].get("recovery_points", ())]
    assert removed == [POINT(STREAM, 1), POINT(STREAM, 2)]


def test_points_stay_past_the_window_while_no_new_one_is_made(pair):
    pair.open(retention_s=60)
    feed(pair, *[(n, document(n, [(0, bytes([n]) * 512)], begin_ns=n)) for n in (1, 2, 3)])
    assert [point.sequence for point in pair.mt._streams[STREAM]._points.all()] == [1, 2, 3]


def test_thinned_points_leave_a_shorter_undo_log_that_still_reaches_every_point(pair):
    second = 1_000_000_000
    pair.open(retention_s=10_000, pruning=[{"after_s": 100, "every_s": 50}])
    start = (int(time.time()) - 1000) // 50 * 50 * second
    contents = {}
    current = bytearray(4096)
    for n in range(1, 41):
        place, data = (n * 7 % 8) * 512, bytes([n]) * 512
        current[place : place + 512] = data
        contents[n] = bytes(current)
        feed(pair, (n, document(n, [(place, data)], begin_ns=start + n * 10 * second)))
    stream = pair.mt._streams[STREAM]
    with stream._lock:  # a document counts as applied a moment before points are thinned
        kept = [point.sequence for point in stream._points.all()]
    assert 8 < len(kept) < 20
    expected = len(kept) - 1
    wait_until(lambda: len(stream._undo.sequences()) == expected, Deadline.after(20), "merged undo files")
    serial = "clone"
    clone = pair.stack.replicas / serial
    for sequence in kept:
        clone.write_bytes(pair.stack.replica(0).read_bytes())
        roll(pair, sequence, serial)
        assert clone.read_bytes()[:4096] == contents[sequence], sequence


def test_a_barrier_holds_applying_and_lifts(pair):
    stream = pair.mt._streams[STREAM]
    pair.mt.handlers()["copy-barrier"]({"stream": STREAM, "hold": True})
    link = pair.stack.link("process-server", "ps1", pair.stack.ports[MT])
    assert put(link, 1, document(1)).status == 201
    assert stream.status()["applied"] == 0
    pair.mt.handlers()["copy-barrier"]({"stream": STREAM, "hold": False})
    applied(pair, 1)
    stream._barrier._until = 0.0
    assert not stream._barrier.held


def test_forgotten_points_cannot_be_rolled_to(pair):
    from lab.replication.common.control import CommandFailed

    feed(pair, *[(n, document(n, [(0, bytes([n]) * 512)])) for n in (1, 2, 3)])
    pair.mt.handlers()["forget-points"]({"stream": STREAM, "keep": POINT(STREAM, 3)})
    with pytest.raises(CommandFailed):
        roll(pair, 2, "replica-0")
    roll(pair, 3, "replica-0")
