"""Copies that go straight to the replica disks while they are received, without a spool.

Before its first recovery point a replica is of no use to anybody: nothing can be rolled back, and a copy is many
documents, each of which leaves the disks between two states anyway. So a copy need not be on a disk of its own first.
What stays: every payload is checked before it is written, and a document is acknowledged when the disks are flushed.
One that ends in the middle comes again, or everything is compared.
"""

from __future__ import annotations

import logging

from lab.replication.common.body import Body
from lab.replication.common.compression import Zstd
from lab.replication.common.dataserver import Refused, Response
from lab.replication.common.ingest import CREATED, OK, UNAVAILABLE, refusing, require_document
from lab.replication.document import DocumentReader
from lab.replication.master_target.devices import BadDevice
from lab.replication.master_target.stream import ReplicaStream
from lab.waiting import DeadlineExceeded

log = logging.getLogger(__name__)


class _Taken:
    """A body that is read as a document, and remembers its beginning until it is known what becomes of it."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self.beginning: bytearray | None = bytearray()

    def read(self, size: int, /) -> bytearray:
        content = self._body.exactly(size)
        if self.beginning is not None:
            self.beginning += content
        return content


def receive_straight(body: Body, stream: ReplicaStream, sequence: int) -> Response | None:
    """Write a copy to the replica disks; return None, with the body as it was, when it has to be spooled.

    Raises:
        Refused: 400 damaged, 409 ``{expected}`` after a gap, 503 not now.
    """
    if not stream.takes_straight:
        return None
    name = stream.settings.stream
    with refusing(name, sequence):
        if stream.inbox.known(sequence):
            return Response(OK, {"sequence": sequence})
        source = _Taken(body)
        reader = DocumentReader(source)
        require_document(reader.head, name, sequence)
        if not reader.head.is_copy:
            body.put_back(source.beginning or b"")
            return None
        source.beginning = None
        return _write(reader, stream, sequence)


def _write(reader: DocumentReader, stream: ReplicaStream, sequence: int) -> Response:
    codec = Zstd()
    passage = stream.begin_passage()
    try:
        for frame in reader.frames():
            raw = frame.raw(codec)
            with stream.passage(passage) as devices:
                devices[frame.disk].write(frame.offset, raw)
        stream.end_passage(passage, sequence)
    except (BadDevice, DeadlineExceeded) as error:
        log.warning("stream %s document %d was not written: %s", reader.head.stream, sequence, error)
        raise Refused(UNAVAILABLE, "bad-device", str(error)) from error
    return Response(CREATED, {"sequence": sequence})
