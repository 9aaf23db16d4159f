"""Receiving one document: to disk, verified on the way, synced, and only then acknowledged."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from lab.replication.changeset import ChangeSetError, Corrupt, Head
from lab.replication.common.arriving import Arriving
from lab.replication.common.body import Body, BodyTooLong
from lab.replication.common.compression import Zstd
from lab.replication.common.dataserver import NO_SPACE, Refused, Response
from lab.replication.common.inbox import Gap, Inbox, Sealed
from lab.replication.document import verify_document

log = logging.getLogger(__name__)

BUFFER_BYTES = 256 << 10
CREATED, OK, BAD_REQUEST, CONFLICT, UNAVAILABLE = 201, 200, 400, 409, 503


Keep = Callable[[Iterator[memoryview], BinaryIO], Head]
"""Writes a document that comes in pieces to a file, checks all of it on the way, and returns its head.

Raises ChangeSetError.
"""


class NoSpace(OSError):
    """The quota for waiting documents is used up."""


def keep_as_it_comes(pieces: Iterator[memoryview], file: BinaryIO) -> Head:
    """Write a document unchanged and return its head; every payload is checked. Raises ChangeSetError."""

    def kept() -> Iterator[memoryview]:
        for piece in pieces:
            file.write(piece)
            yield piece

    return verify_document(Arriving(kept()), Zstd()).head


def receive(
    body: Body, inbox: Inbox, stream: str, sequence: int, room: int, *, keep: Keep = keep_as_it_comes
) -> Response:
    """Store a body as document ``sequence``; ``room`` is how many bytes the quota still has.

    Returns:
        201 stored, 200 known before.

    Raises:
        Refused: 400 damaged, 409 ``{expected}`` after a gap, 503 not now, 507 no room.
    """
    part = inbox.part()
    try:
        with refusing(stream, sequence):
            if inbox.known(sequence):
                return Response(OK, {"sequence": sequence})
            require_document(_store(body, part, room, keep), stream, sequence)
            new = inbox.admit(part, sequence)
    finally:
        part.unlink(missing_ok=True)
    return Response(CREATED if new else OK, {"sequence": sequence})


@contextmanager
def refusing(stream: str, sequence: int) -> Iterator[None]:
    """Turn what can be wrong with a document into an answer. Raises Refused."""
    try:
        yield
    except Gap as gap:
        raise Refused(CONFLICT, "gap", str(gap), expected=gap.expected) from gap
    except Sealed:
        raise Refused(UNAVAILABLE, "stream-moving", "the stream is opened anew, here or elsewhere: ask again") from None
    except NoSpace as error:
        raise Refused(NO_SPACE, "cache-full", str(error)) from error
    except ChangeSetError as error:
        log.warning("stream %s document %d refused: %s", stream, sequence, error)
        raise Refused(BAD_REQUEST, type(error).__name__.lower(), str(error)) from error
    except (ConnectionError, TimeoutError, BodyTooLong) as error:
        log.info("stream %s document %d was not sent to its end: %s", stream, sequence, error)
        raise Refused(BAD_REQUEST, "incomplete", "the body ended early") from error


def _store(body: Body, part: Path, room: int, keep: Keep) -> Head:
    if (body.length or 0) > room:
        raise NoSpace("the document is larger than what is left")
    with part.open("wb", BUFFER_BYTES) as file:
        head = keep(_within(body, room), file)
        file.flush()
        os.fsync(file.fileno())
    return head


def _within(body: Body, room: int) -> Iterator[memoryview]:
    left = room
    for piece in body.pieces():
        left -= len(piece)
        if left < 0:
            raise NoSpace("the document is larger than what is left")
        yield piece


def verify_received(part: Path, stream: str, sequence: int) -> Head:
    """Read all of a received file and return its head.

    Raises:
        ChangeSetError: it is damaged, or another document than it should be.
    """
    with part.open("rb") as file:
        head = verify_document(file, Zstd()).head
    require_document(head, stream, sequence)
    return head


def require_document(head: Head, stream: str, sequence: int) -> None:
    """Raise Corrupt unless this is the head of the document that was announced."""
    if (head.stream, head.sequence) != (stream, sequence):
        raise Corrupt(f"this is document {head.sequence} of stream {head.stream}")
