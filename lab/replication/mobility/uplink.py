"""The way to the other side: every call is repeated until it is answered or nobody wants the answer."""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable
from typing import Protocol

from lab.replication.changeset import Buffer
from lab.replication.common.backoff import Backoff
from lab.replication.common.config import Endpoint
from lab.replication.common.introduction import Introduction
from lab.replication.common.link import Body, Link, Reply, Unreachable, stream_path

log = logging.getLogger(__name__)

TIMEOUT_S = 180.0
HTTP_OK = 200
HTTP_BAD_REQUEST = 400
HTTP_CONFLICT = 409
FORWARD_POLL_S = 0.25


class Interrupted(Exception):
    """The stream was stopped or has to begin again; whoever waited should look what is to be done now."""


class UploadRejected(Exception):
    """The process server cannot use this document: one before it is missing, or it is damaged."""


class Outlet(Protocol):
    """Where the documents of one stream go. Everything may raise Interrupted."""

    def expected(self) -> int:
        """Return the sequence that comes next over there."""

    def put(self, sequence: int, body: Body) -> None:
        """Send a document; when this returns it need not be kept here. Raises UploadRejected."""

    def differing(self, disk: int, chunk: int, first: int, digests: Buffer) -> list[int]:
        """Return which chunks of the replica have other digests. Raises UploadRejected."""

    def wait_forwarded(self, sequence: int) -> None:
        """Wait until the replica's keeper has everything up to ``sequence``."""

    def abort(self) -> None:
        """End the call that is under way and refuse all others."""

    def close(self) -> None:
        """Close the connection."""


class Pauses(Protocol):
    """How long to wait between attempts."""

    def pause(self) -> bool:
        """Wait; return False as soon as the service has to stop."""


class Uplink:
    """Calls for one stream. ``interrupted`` is asked before every attempt; ``noted`` hears of every new problem.

    ``server`` is what logs call the other side.
    """

    server = "process server"
    kept = "forwarded"
    """The number in a stream's status up to which its keeper has everything."""

    def __init__(
        self,
        endpoint: Endpoint,
        context: ssl.SSLContext,
        stream: str,
        stop: threading.Event,
        *,
        interrupted: Callable[[], bool],
        noted: Callable[[str], None],
        introduction: Introduction | None = None,
    ) -> None:
        self._link = Link(endpoint, context, TIMEOUT_S, introduction)
        self._stream = stream
        self._stop = stop
        self._interrupted = interrupted
        self._noted = noted
        self._problem: str | None = ""

    def expected(self) -> int:
        """Return the sequence that the process server waits for.

        Raises:
            Interrupted: see there.
        """
        return int(self._ask("GET", stream_path(self._stream), Body(list, 0)).json["expected"])

    def put(self, sequence: int, body: Body) -> None:
        """Send a document; when this returns the process server has it on disk.

        Raises:
            UploadRejected: repeating will not help.
            Interrupted: see there.
        """
        self._ask("PUT", stream_path(self._stream, sequence), body)

    def differing(self, disk: int, chunk: int, first: int, digests: Buffer) -> list[int]:
        """Return which chunks of the replica have other digests (``lab.replication.digests``).

        Raises:
            UploadRejected: the question is wrong.
            Interrupted: see there.
        """
        path = f"{stream_path(self._stream, 'compare')}?disk={disk}&chunk={chunk}&first={first}"
        reply = self._ask("POST", path, Body(lambda: [digests], len(digests)))
        return [int(index) for index in reply.json["differ"]]

    def wait_forwarded(self, sequence: int) -> None:
        """Wait until whoever keeps the replica has everything up to ``sequence`` on disk.

        Raises:
            Interrupted: see there.
        """
        while int(self._ask("GET", stream_path(self._stream), Body(list, 0)).json[self.kept]) < sequence:
            self._stop.wait(FORWARD_POLL_S)

    def abort(self) -> None:
        """End the call that is under way and refuse all others."""
        self._link.abort()

    def close(self) -> None:
        """Close the connection."""
        self._link.close()

    def _ask(self, method: str, path: str, body: Body) -> Reply:
        backoff = self._pauses()
        while True:
            if self._stop.is_set() or self._interrupted():
                raise Interrupted
            try:
                reply = self._link.send(method, path, body)
            except Unreachable as error:
                self._judge_silence(error)
                self._note(str(error))
                backoff.pause()
                continue
            if reply.created_or_known:
                self._note("")
                return reply
            self._judge(method, reply)
            if reply.retry_after:
                self._stop.wait(min(reply.retry_after, TIMEOUT_S))
            backoff.pause()

    def _pauses(self) -> Pauses:
        return Backoff(self._stop)

    def _judge_silence(self, error: Unreachable) -> None:
        """Raise when trying again cannot help; here it always can."""

    def _judge(self, method: str, reply: Reply) -> None:
        error = reply.json.get("error") or {}
        text = f"HTTP {reply.status}: {error.get('message', '')}"
        damaged = reply.status == HTTP_BAD_REQUEST and error.get("type") != "incomplete"
        if reply.status == HTTP_CONFLICT or damaged:
            raise UploadRejected(text)
        self._note(f"{method} {text}")

    def _note(self, problem: str) -> None:
        if problem != self._problem and not self._stop.is_set():
            if problem or self._problem:
                log.warning("%s: %s", self.server, problem or "answers again")
            self._noted(problem)
        self._problem = problem
