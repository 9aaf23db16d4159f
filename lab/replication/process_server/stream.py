"""One stream: its cache, and the thread that forwards what is in it."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from lab.replication.changeset import Head
from lab.replication.common.backoff import Backoff
from lab.replication.common.control import CommandFailed
from lab.replication.common.durable import JSON
from lab.replication.common.inbox import Inbox
from lab.replication.common.link import Reply
from lab.replication.common.optimised import Optimised, OptimisedOnArrival, blocks_of
from lab.replication.common.storage_access import StorageAccess
from lab.replication.process_server.forwarding import Forwarder, NotTaken
from lab.replication.process_server.settings import StreamSettings
from lab.replication.process_server.statistics import DocumentRecord, Statistics
from lab.replication.process_server.storage import StorageForwarder
from lab.waiting import Deadline, DeadlineExceeded, wait_until

log = logging.getLogger(__name__)

CACHE = "cache"
IDLE_S = 5.0
UNKEPT_S = 0.5
"""How often the other side is asked what it keeps while it does not keep everything."""
STOP_S = 60.0


class CachedStream:
    """A stream that is open here; lives in ``directory`` and survives restarts there.

    ``noted`` hears of every new problem with the other side, and of its end (an empty text).
    """

    def __init__(
        self,
        directory: Path,
        settings: StreamSettings,
        forwarder: Forwarder,
        *,
        statistics: Statistics,
        noted: Callable[[str], None],
    ) -> None:
        self.settings = settings
        self._directory = directory
        self._statistics = statistics
        self._noted = noted
        self._wake = threading.Event()
        self._stop = threading.Event()
        self.inbox = Inbox(directory / CACHE, self._wake.set)
        self._forwarder = forwarder
        self._arrived: dict[int, OptimisedOnArrival] = {}
        self._sent = self.inbox.done
        self._problem = ""
        self._thread = threading.Thread(target=self._forward_all, name=f"forward-{settings.stream}", daemon=True)

    def start(self) -> None:
        """Begin to forward."""
        self._thread.start()

    def close(self) -> None:
        """Take in nothing more and stop forwarding, also in the middle of a document."""
        self.inbox.retire()
        self._stop.set()
        self._wake.set()
        self._forwarder.abort()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        self._forwarder.close()

    def delete(self) -> None:
        """Close, and delete what is cached."""
        self.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def renew(self, settings: StreamSettings, access: StorageAccess) -> None:
        """Go on with a new signature; nothing is interrupted."""
        self.settings = settings
        if isinstance(self._forwarder, StorageForwarder):
            self._forwarder.renew(access)

    def keep(self, sequence: int, pieces: Iterator[memoryview], file: BinaryIO) -> Head:
        """Write a document that was announced as ``sequence``, checked and compressed. Raises ChangeSetError.

        What it says of itself is the caller's to check, and must not touch what is kept of another one.
        """
        document = OptimisedOnArrival(pieces, file)
        self._arrived[sequence] = document
        return document.head

    def status(self) -> JSON:
        """Return the stream's numbers: ``expected`` is the sequence that has to come next."""
        return {
            "machine": self.settings.machine,
            "expected": self.inbox.received + 1,
            "received": self.inbox.received,
            "forwarded": self.inbox.done,
            "cached_documents": self.inbox.waiting,
            "cached_bytes": self.inbox.bytes_waiting,
            "problem": self._problem,
        }

    def drain(self, deadline: Deadline) -> int:
        """Wait until the other side has applied (or keeps) all that was received before now; return its number.

        Raises:
            CommandFailed: it did not happen in time, or the stream is closed.
        """
        last = self.inbox.received
        try:
            wait_until(lambda: self._applied(last), deadline, f"application of document {last}", every=0.1)
        except DeadlineExceeded as error:
            raise CommandFailed("drain-timeout", f"{error}; {self._problem}") from error
        return last

    def compare(self, query: str, digests: bytes, deadline: Deadline) -> Reply:
        """Ask the other side which chunks differ, once it has applied what came before.

        Raises:
            NotTaken: it does not answer.
            CommandFailed: what came before was not applied in time.
        """
        self.drain(deadline)
        return self._forwarder.compare(query, digests)

    def _applied(self, sequence: int) -> bool:
        if self._stop.is_set():
            raise CommandFailed("stream-closed", "the stream was closed")
        if self.inbox.done < sequence:
            return False
        try:
            return self._forwarder.applied(sequence)
        except NotTaken as error:
            self._problem = str(error)
            return False

    def _forward_all(self) -> None:
        backoff = Backoff(self._stop)
        while not self._stop.is_set():
            self._wake.clear()
            if not self._forward_next():
                backoff.pause()
                continue
            backoff.reset()
            if self._sent == self.inbox.received:
                self._wake.wait(IDLE_S if self.inbox.done == self._sent else UNKEPT_S)

    def _forward_next(self) -> bool:
        """Pass on a document if one waits, and forget those that the other side keeps; return whether that worked."""
        sequence = self._sent + 1
        try:
            path = self.inbox.document(sequence)
            if path is not None:
                self._forward(sequence, path)
                self._sent = sequence
            if self.inbox.done < self._sent:
                self._follow()
        except (NotTaken, OSError, ValueError) as error:
            self._note(f"document {sequence} waits: {error}")
            return False
        self._note("")
        return True

    def _follow(self) -> None:
        standing = self._forwarder.standing(self.inbox.done, self._sent)
        for sequence in range(self.inbox.done + 1, standing.kept + 1):
            self.inbox.finish(sequence)
            self._arrived.pop(sequence, None)
        if standing.sent < self._sent:
            log.warning("stream %s: documents after %d are sent again", self.settings.stream, standing.sent)
        self._sent = standing.sent

    def _forward(self, sequence: int, path: Path) -> None:
        arrived = self._arrived.get(sequence)
        if arrived is not None:
            self._forwarder.send(sequence, lambda: blocks_of(path))
            self._count(sequence, arrived, arrived.received_ns)
            return
        # It was received before this process began: who wrote it may not have compressed it.
        document = Optimised(lambda: path.open("rb"))
        received_ns = path.stat().st_mtime_ns
        self._forwarder.send(sequence, document.parts)
        self._count(sequence, document, received_ns)

    def _count(self, sequence: int, document: Optimised | OptimisedOnArrival, received_ns: int) -> None:
        self._statistics.add(
            DocumentRecord(
                stream=self.settings.stream,
                sequence=sequence,
                received_ns=received_ns,
                optimised_ns=document.optimised_ns,
                sent_ns=time.time_ns(),
                raw_bytes=document.raw_bytes,
                wire_bytes=document.wire_bytes,
            )
        )

    def _note(self, problem: str) -> None:
        if problem != self._problem and not self._stop.is_set():
            where = self._forwarder.name.replace("_", " ")
            log.warning("stream %s: %s", self.settings.stream, problem or f"the {where} answers again")
            self._noted(problem)
        self._problem = problem
