"""Who hears that a copy is complete may ask for a recovery point at once."""

from __future__ import annotations

import ssl
import threading

from capture_standin import Disks, FileCapture

from lab.replication.common.config import Endpoint
from lab.replication.common.control import CommandFailed
from lab.replication.mobility.replicator import Replicator
from lab.replication.mobility.session import CHECKSUM, Order, Session, SessionFile

SOON_S = 0.5


class ImpatientListener:
    """Stands in for the outbox: whoever gets the event asks for a cut before the agent does anything else."""

    def __init__(self) -> None:
        self.replicator: Replicator | None = None
        self.answer: object = None
        self.asking = threading.Thread(target=self._ask)

    def post(self, kind: str, *_: object, **__: object) -> None:
        if kind == "resynchronisation-complete":
            self.asking.start()
            self.asking.join(SOON_S)

    def wait_delivered(self, _: object) -> None:
        pass

    def _ask(self) -> None:
        try:
            self.answer = self.replicator.cut()
        except CommandFailed as error:
            self.answer = error


def test_a_cut_right_after_the_event_is_a_point(tmp_path):
    disks = Disks(tmp_path / "source")
    disks.create([4096])
    listener = ImpatientListener()
    order = Order("s-1", Endpoint("127.0.0.1", 1), 60.0, CHECKSUM)
    session = SessionFile(tmp_path / "session.json", Session(order, CHECKSUM, completed=True))
    listener.replicator = Replicator(
        FileCapture(disks),
        session,
        machine="app1",
        spool=tmp_path / "spool",
        quota=1 << 20,
        context=ssl.create_default_context(),
        outbox=listener,
    )
    listener.replicator._record.begin(1)
    listener.replicator._record.complete(1)
    listener.asking.join(20)
    assert isinstance(listener.answer, dict), listener.answer
    assert listener.answer["sequence"] == 2
