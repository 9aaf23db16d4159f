"""Reading ahead and writing behind: what is read is in order, what was written is what was written last."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.replication.master_target.devices import BadDevice
from lab.replication.provider.lanes import MOST_BYTES, MOST_WAITING, Lanes

SIZE = 64


class Export:
    """What is behind all connections; a write waits until ``slow`` lets it go."""

    def __init__(self):
        self.content = bytearray(SIZE)
        self.lock = threading.Lock()
        self.slow = threading.Event()
        self.slow.set()
        self.full = False
        self.flushed = None
        self.closed = 0
        self.reads = 0


class Disk:
    size = SIZE

    def __init__(self, export):
        self.export = export

    def read(self, offset, length):
        with self.export.lock:
            self.export.reads += 1
            return bytearray(self.export.content[offset : offset + length])

    def write(self, offset, data):
        assert self.export.slow.wait(20)
        if self.export.full:
            raise BadDevice("no room")
        with self.export.lock:
            self.export.content[offset : offset + len(data)] = data

    def flush(self):
        with self.export.lock:
            self.export.flushed = bytes(self.export.content)

    def close(self):
        self.export.closed += 1


@pytest.fixture
def export():
    return Export()


@pytest.fixture
def lanes(export):
    found = Lanes(lambda: Disk(export))
    yield found
    export.slow.set()
    found.close()
    assert export.closed == 2


WRITES = st.lists(st.tuples(st.integers(0, SIZE - 16), st.binary(min_size=1, max_size=16)), max_size=60)


@given(WRITES)
def test_the_last_write_wins_and_a_flush_has_all_of_them(writes):
    export, expected = Export(), bytearray(SIZE)
    lanes = Lanes(lambda: Disk(export))
    for offset, data in writes:
        lanes.write(offset, data)
        expected[offset : offset + len(data)] = data
    lanes.flush()
    lanes.close()
    assert export.flushed == bytes(expected)


def test_what_is_read_is_in_order_and_comes_after_what_was_written(lanes, export):
    export.slow.clear()
    lanes.write(3, b"abc")
    threading.Timer(0.1, export.slow.set).start()
    places = [(at, 3) for at in (3, 0, 2, 5)]
    assert list(lanes.read_ahead(places)) == [(3, b"abc"), (0, bytes(3)), (2, b"\0ab"), (5, b"c\0\0")]


def test_no_more_is_read_ahead_than_there_is_room_for(lanes, export):
    first = lanes.read_ahead((at % SIZE, 1) for at in range(1000))
    assert next(first) == (0, bytes(1))
    first.close()
    assert export.reads <= MOST_WAITING + 1
    large = lanes.read_ahead((0, MOST_BYTES // 2) for _ in range(1000))
    next(large)
    large.close()
    assert export.reads <= MOST_WAITING + 5
    assert list(lanes.read_ahead([(0, 1)])) == [(0, bytes(1))]


def test_a_write_that_failed_is_known_before_anything_is_called_durable(lanes, export):
    export.full = True
    lanes.write(0, b"x")
    with pytest.raises(BadDevice):
        lanes.flush()
    assert export.flushed is None
    export.full = False
    lanes.write(0, b"y")
    lanes.flush()
    assert export.flushed[:1] == b"y"


def test_what_overlaps_waits_for_what_came_before(lanes, export):
    export.slow.clear()
    lanes.write(0, b"aaaa")
    second = threading.Thread(target=lanes.write, args=(2, b"bb"))
    second.start()
    second.join(0.2)
    assert second.is_alive()
    export.slow.set()
    second.join(20)
    lanes.settle()
    assert export.content[:4] == b"aabb"


def test_a_connection_that_cannot_be_had_closes_the_others(export):
    def connect():
        if export.reads:
            raise BadDevice("no more")
        export.reads += 1
        return Disk(export)

    with pytest.raises(BadDevice):
        Lanes(connect)
    assert export.closed == 1
