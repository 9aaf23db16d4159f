"""Where the documents of a stream go: what a process server needs of the other side, and the master target's way."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from lab.replication.changeset import Buffer
from lab.replication.common.config import Endpoint
from lab.replication.common.link import Body, Link, Reply, Unreachable, stream_path

TARGET_TIMEOUT_S = 180.0
HTTP_OK = 200
Parts = Callable[[], Iterable[Buffer]]


class NotTaken(Exception):
    """The other side does not have it: it cannot be reached, or refuses it now. The same has to be tried again."""


@dataclass(frozen=True)
class Standing:
    """How far the other side is: what it keeps for ever, and the last document that need not be sent again (yet)."""

    kept: int
    sent: int


class Forwarder(Protocol):
    """The other side of one stream. ``send`` and ``standing`` are called by one thread, the rest by any."""

    @property
    def name(self) -> str:
        """What it is, for reports of health: ``master_target`` or ``storage``."""

    def send(self, sequence: int, parts: Parts) -> None:
        """Pass on a document. Raises NotTaken."""

    def standing(self, kept: int, sent: int) -> Standing:
        """Return how far it is; only what it keeps may be forgotten here.

        Args:
            kept: the last document of which that is known already.
            sent: the last document that was passed on.

        Raises:
            NotTaken: it does not say.
        """

    def applied(self, sequence: int) -> bool:
        """Return whether a kept document is as far as this server has to follow it. Raises NotTaken."""

    def compare(self, query: str, digests: bytes) -> Reply:
        """Return which chunks differ. Raises NotTaken."""

    def abort(self) -> None:
        """Break what another thread is in and refuse all that comes later."""

    def close(self) -> None:
        """Release connections."""


class MasterTargetForwarder:
    """Documents go to a master target, which has synced them when it answers."""

    name = "master_target"

    def __init__(self, stream: str, endpoint: Endpoint, context: ssl.SSLContext) -> None:
        self._stream = stream
        # Questions must not wait behind a document that is being sent.
        self._bulk = Link(endpoint, context, TARGET_TIMEOUT_S)
        self._questions = Link(endpoint, context, TARGET_TIMEOUT_S)

    def send(self, sequence: int, parts: Parts) -> None:
        """Pass on a document. Raises NotTaken."""
        try:
            reply = self._bulk.send("PUT", stream_path(self._stream, sequence), Body(parts, None))
        except OSError as error:
            raise NotTaken(str(error)) from error
        if not reply.created_or_known:
            raise NotTaken(f"HTTP {reply.status} {reply.body[:200]!r}")

    def standing(self, kept: int, sent: int) -> Standing:  # noqa: ARG002 - the last answer said so for all before
        """Return that all is kept: an answer comes after fsync."""
        return Standing(sent, sent)

    def applied(self, sequence: int) -> bool:
        """Return whether it is on the replica disks. Raises NotTaken."""
        try:
            reply = self._questions.call("GET", stream_path(self._stream))
        except Unreachable as error:
            raise NotTaken(str(error)) from error
        return reply.status == HTTP_OK and int(reply.json.get("applied", -1)) >= sequence

    def compare(self, query: str, digests: bytes) -> Reply:
        """Ask the master target. Raises NotTaken."""
        path = f"{stream_path(self._stream, 'compare')}?{query}"
        try:
            return self._questions.send("POST", path, Body(lambda: [digests], len(digests)))
        except Unreachable as error:
            raise NotTaken(str(error)) from error

    def abort(self) -> None:
        """Break both connections."""
        self._bulk.abort()
        self._questions.abort()

    def close(self) -> None:
        """Close both connections."""
        self._bulk.close()
        self._questions.close()
