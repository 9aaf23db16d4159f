"""No change is lost, wherever the provider ends: the replica is the machine's disks after the next cut that arrives."""

from __future__ import annotations

import io
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from provider_machine import BLOCK, Crash, MemoryMachine, World

from lab.replication.common.config import Endpoint
from lab.replication.common.durable import read_json, write_json
from lab.replication.common.link import Body
from lab.replication.digests import DIGEST_SIZE, ChunkDigests
from lab.replication.document import DocumentReader
from lab.replication.mobility.losses import LOST
from lab.replication.mobility.session import COPY, STEADY, SessionFile
from lab.replication.mobility.uplink import UploadRejected
from lab.replication.provider.capture import CheckpointCapture, NotOneMoment
from lab.replication.provider.order import HostOrder, HostSession
from lab.replication.provider.replication import HostReplication

SIZES = (16 * BLOCK, 8 * BLOCK)
WHERE = "lab.replication"
STORES = (
    f"{WHERE}.mobility.hrl.write_json",
    f"{WHERE}.mobility.session.write_json",
    f"{WHERE}.provider.capture.write_json",
)


class Replica:
    """The other side: applies documents strictly in order, and outlives every crash."""

    def __init__(self, world):
        self.world = world
        self.content = {index: bytearray(size) for index, size in enumerate(SIZES)}
        self.received = 0
        self.points = []

    def expected(self):
        return self.received + 1

    def put(self, sequence: int, body: Body) -> None:
        self.world.tick()
        if sequence > self.received + 1:
            raise UploadRejected(f"gap before {sequence}")
        if sequence == self.received + 1:
            reader = DocumentReader(io.BytesIO(b"".join(bytes(part) for part in body.parts())))
            for frame in reader.frames():
                self.content[frame.disk][frame.offset : frame.offset + frame.raw_length] = frame.raw()
            self.received = sequence
            if reader.head.recovery_point:
                self.points.append({index: bytes(content) for index, content in self.content.items()})
        self.world.tick()

    def differing(self, disk, chunk, first, digests):
        ours, content = ChunkDigests(chunk), self.content[disk]
        places = range(len(digests) // DIGEST_SIZE)
        of = lambda n: ours.of(content[(first + n) * chunk : (first + n + 1) * chunk])  # noqa: E731
        return [first + n for n in places if of(n) != digests[n * DIGEST_SIZE : (n + 1) * DIGEST_SIZE]]

    def wait_forwarded(self, sequence):
        assert self.received >= sequence

    def has(self, sequence):
        return self.received >= sequence

    def abort(self):
        pass

    close = delete = abort


class Outbox:
    def __init__(self):
        self.posted = []

    def post(self, kind, data, **_):
        self.posted.append((kind, data))

    def wait_delivered(self, deadline):
        return True


class Host:
    """A host whose provider can end anywhere and start again on what it left on disk; the machine goes on meanwhile."""

    def __init__(self, folder: Path, world: World) -> None:
        self.folder = folder
        self.world = world
        self.machine = MemoryMachine(SIZES, world, folder)
        self.replica = Replica(world)
        self.outbox = Outbox()
        self.running: HostReplication | None = None

    def provider(self) -> HostReplication:
        if self.running is None:
            self.machine.held = None  # the new one ends the old one's backup, as libvirt would be asked to
            path = self.folder / "session.json"
            stored = read_json(path)
            session = HostSession.from_json(stored) if stored else HostSession(order(), phase=COPY)
            capture = CheckpointCapture(self.machine, self.folder / "capture.json")
            opened = lambda _interrupted: self.replica  # noqa: E731
            file = SessionFile(path, session)
            stop = threading.Event()
            self.running = HostReplication(capture, file, self.folder, opened, self.outbox, stop=stop)
        return self.running

    def step(self, action) -> None:
        try:
            try:
                action(self.provider())
            except LOST as error:
                self.provider()._record.begin_again(str(error))
        except Crash:
            self.running = None

    def settle(self) -> None:
        """Without further crashes: one more cut that arrives."""
        self.world.crash_at = None
        for _ in range(6):
            self.step(HostReplication._send_something_now)
        self.step(lambda provider: provider._cut_once(application=False))
        while self.provider()._record.queue().oldest() is not None:
            self.step(HostReplication._send_something_now)


def order(**more):
    serials = {0: "system", 1: "data"}
    return HostOrder("s-1", "app1", serials, 30, COPY, Endpoint("127.0.0.1", 1), **more)


def send_now(replication: HostReplication) -> None:
    """Send what there is: the loop around it waits, a test does not."""
    if replication._session.value.phase != STEADY or replication._record.queue().oldest() is not None:
        replication._send_something()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch):
    monkeypatch.setattr(HostReplication, "_send_something_now", send_now, raising=False)


WRITES = st.tuples(st.just("write"), st.integers(0, 1), st.integers(0, 7), st.integers(1, 255))
CUT, SEND = st.just(("cut",)), st.just(("send",))
STEPS = st.lists(st.one_of(WRITES, WRITES, CUT, SEND), max_size=25)


def ticking(world: World):
    def store(path, value):
        world.tick()
        write_json(path, value)
        world.tick()

    return store


def play(host: Host, steps) -> None:
    for step in steps:
        if step[0] == "write":
            _, disk, block, value = step
            host.machine.write(disk, block * BLOCK, bytes([value]) * 512)
        elif step[0] == "cut":
            host.step(lambda provider: provider._cut_once(application=False))
        else:
            host.step(HostReplication._send_something_now)


TOO_MUCH = [step for value in (1, 2, 3) for step in (*(("write", 1, block, value) for block in range(8)), ("cut",))]
"""Changes of more than half of a disk: the provider gives up what it has kept, and compares."""


@given(first=STEPS, second=STEPS, crash_at=st.integers(1, 120))
@example(first=[], second=TOO_MUCH, crash_at=32)  # while it begins again
@example(first=[], second=TOO_MUCH, crash_at=33)
def test_no_change_is_lost_wherever_the_provider_ends(first, second, crash_at):
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        world = World(crash_at)
        for place in STORES:
            stack.enter_context(patch(place, ticking(world)))
        host = Host(Path(folder), world)
        play(host, [*first, ("send",), *second])
        host.settle()
        assert {i: bytes(c) for i, c in host.machine.content.items()} == host.replica.points[-1]
        assert len(host.machine.checkpoints()) == 1
        assert not list(Path(folder).glob("*.hrl"))


def test_the_property_finds_a_base_that_moves_too_early(tmp_path):
    """The check above is worth something: a capture that forgets what was not stored is found."""

    class Hasty(CheckpointCapture):
        def drain(self, cut, disk):
            state = read_json(self._state)
            write_json(self._state, {**state, "base": cut.token})
            self._machine.world.tick()
            yield from super().drain(cut, disk)

    world = World()
    host = Host(tmp_path, world)
    with patch(f"{__name__}.CheckpointCapture", Hasty):
        play(host, [("send",), ("send",), ("write", 0, 3, 7)])
        world.crash_at = world.ticks + 3  # after the moment was made, before its changes were stored
        play(host, [("cut",)])
        assert host.running is None
        host.settle()
    assert bytes(host.machine.content[0]) != host.replica.points[-1][0]


@pytest.fixture
def host(tmp_path):
    host = Host(tmp_path, World())
    play(host, [("write", 0, 1, 5), ("send",), ("send",)])
    assert host.provider().session.phase == STEADY
    return host


def kinds(host):
    return [kind for kind, _ in host.outbox.posted]


def test_a_log_lies_beside_its_disk_and_another_one_is_written_while_it_waits(host, tmp_path):
    play(host, [("write", 0, 2, 9), ("cut",), ("write", 1, 2, 9), ("cut",)])
    names = sorted(path.name for path in tmp_path.glob("*.hrl"))
    assert len(names) == 4
    assert all(name.startswith("s-1-") for name in names)
    host.running = None  # a restart keeps them
    assert host.provider()._record.queue().oldest() is not None
    play(host, [("send",), ("send",)])
    assert not list(tmp_path.glob("*.hrl"))
    host.settle()
    assert bytes(host.machine.content[1]) == host.replica.points[-1][1]


def test_a_lost_bitmap_is_resynchronised_with_its_cause(host):
    host.machine.write(0, 5 * BLOCK, b"unseen")
    host.machine.lose_bitmaps()
    with pytest.raises(LOST) as raised:
        host.provider()._cut_once(application=False)
    host.provider()._record.begin_again(str(raised.value), raised.value.cause)
    assert ("resynchronisation-required", {"reason": str(raised.value), "cause": "tracking-lost"}) in host.outbox.posted
    host.settle()
    assert "resynchronisation-complete" in kinds(host)
    assert bytes(host.machine.content[0]) == host.replica.points[-1][0]


def test_changes_of_more_than_half_a_disk_are_compared_instead(host):
    for block in range(6):
        host.machine.write(1, block * BLOCK, bytes([block + 1]) * BLOCK)
    with pytest.raises(LOST, match="half"):
        host.provider()._cut_once(application=False)
    host.provider()._record.begin_again("half")
    host.settle()
    assert bytes(host.machine.content[1]) == host.replica.points[-1][1]


def test_a_machine_that_is_off_gives_its_last_changes_once(host):
    host.machine.write(0, 7 * BLOCK, b"last words")
    host.machine.on = False
    play(host, [("cut",), ("send",), ("cut",)])
    assert bytes(host.machine.content[0]) == host.replica.points[-1][0]
    documents = [host.provider()._record.queue().oldest()]
    assert documents[0].raw_bytes == 0


def test_a_machine_that_starts_while_it_is_read_costs_a_cut_and_no_change(host):
    host.machine.write(0, 7 * BLOCK, b"last words")
    host.machine.on = False
    freeze = host.machine.freeze

    def freeze_and_start(since, checkpoint):
        moment = freeze(since, checkpoint)
        host.machine.on = True
        return moment

    host.machine.freeze = freeze_and_start
    with pytest.raises(NotOneMoment):
        host.provider()._cut_once(application=False)
    host.machine.freeze = freeze
    host.settle()
    assert bytes(host.machine.content[0]) == host.replica.points[-1][0]


def test_without_a_guest_agent_a_point_is_crash_consistent_and_says_why(host):
    host.provider()._cut_once(application=True)
    assert ("health", {"applications": "no agent"}) in host.outbox.posted
    assert host.provider()._record.queue().oldest().head.point_kind == "crash-consistent"
    host.machine.agent = True
    host.settle()
    host.provider()._cut_once(application=True)
    assert host.provider()._record.queue().oldest().head.point_kind == "application-consistent"


def test_a_failure_that_cannot_be_cured_is_given_up_until_it_is_ordered_anew(host):
    from lab.replication.provider.tracking import MachineMissing

    provider = host.provider()
    assert provider._give_up_if_hopeless(MachineMissing("no app1"))
    assert not provider._give_up_if_hopeless(ConnectionError("later"))
    host.running = None
    assert host.provider().session.given_up == "no app1"
    count = len(host.machine.checkpoints())
    play(host, [("write", 0, 1, 1), ("cut",)])
    assert len(host.machine.checkpoints()) == count
    host.provider().resume()
    host.settle()
    assert bytes(host.machine.content[0]) == host.replica.points[-1][0]


def test_a_failure_that_is_tried_again_is_said_until_it_is_over(host):
    """Found on a lab: every backup was refused for a quarter of an hour, and the machine was called healthy."""
    freeze, provider = host.machine.freeze, host.provider()
    provider._pauses.pause = lambda: True

    def refuse(_since, _checkpoint):
        raise RuntimeError("no backup")

    host.machine.freeze = refuse
    provider.resynchronise()
    provider._send_or_pause()
    host.machine.freeze = freeze
    provider._send_or_pause()
    told = [data["replication"] for kind, data in host.outbox.posted if kind == "health" and "replication" in data]
    assert told == ["to be tried again: no backup", "ok"]
