"""A change log that fills up is cut before the interval is over: 5 MB/s fill the log of a small disk in 15 s."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
from capture_standin import Disks, FileCapture

from lab.replication.common.config import Endpoint
from lab.replication.mobility.replicator import FULL_ENOUGH, Replicator
from lab.replication.mobility.session import CHECKSUM, STEADY, Order, Session, SessionFile
from lab.waiting import Deadline, wait_until

LOG_BYTES = 1 << 20
HOUR_S = 3600.0
CHUNK = 64 << 10


class Silent:
    """Stands in for the outbox: nobody listens."""

    def post(self, *_: object, **__: object) -> None:
        pass


@pytest.fixture
def disks(tmp_path) -> Disks:
    disks = Disks(tmp_path / "source")
    disks.create([2 * LOG_BYTES])
    return disks


@pytest.fixture
def replicator(tmp_path, disks) -> Iterator[Replicator]:
    capture = FileCapture(disks, LOG_BYTES)
    order = Order("s-1", Endpoint("127.0.0.1", 1), HOUR_S, CHECKSUM)
    session = Session(order, STEADY, completed=True, generation=capture.generation(), stopped=True)
    replicator = Replicator(
        capture,
        SessionFile(tmp_path / "session.json", session),
        machine="app1",
        spool=tmp_path / "spool",
        quota=1 << 30,
        context=ssl.create_default_context(),
        outbox=Silent(),
    )
    replicator.start()
    yield replicator
    replicator.close()


def fill(disks: Disks, share: float) -> None:
    for offset in range(0, int(share * LOG_BYTES), CHUNK):
        disks.write(0, offset, b"x" * CHUNK)


def test_a_log_that_is_half_full_is_not_left_to_overflow(tmp_path, disks, replicator) -> None:
    fill(disks, FULL_ENOUGH)
    found = wait_until(lambda: list(tmp_path.glob("spool/s-1/*.hrl")), Deadline.after(20), "changes that wait")
    assert found, "an hour is not waited for"


def test_a_log_with_room_waits_for_its_time(disks, replicator) -> None:
    fill(disks, FULL_ENOUGH / 2)
    assert not replicator._logs_fill_up()
    fill(disks, FULL_ENOUGH)
    assert replicator._logs_fill_up()
