"""The conversation of a round: one JSON object a line, over mutual TLS on the group's port.

A round, as the coordinator (C) and a member (M) see it::

    C -> M  {"say": "prepare", "round": ID, "application": false}
    M -> C  {"say": "ready"}              logs are prepared, nothing is held
    C -> M  {"say": "hold"}
    M -> C  {"say": "held"}               no write of M is under way
    C -> M  {"say": "release"}            everybody had said "held", or the bound has passed
    M -> C  {"say": "cut", "in_time": true, "begin_ns": .., "end_ns": .., "stall_ns": ..}
    C -> M  {"say": "agreed", "shared": ID or null}

Instead of any of its messages a member may say ``{"say": "refuse", "why": ..}`` and hang up.

``in_time`` is false when M went on by itself before "release" arrived: then its cut is not of the common instant.
"""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass, field

from lab.replication.common.durable import JSON
from lab.replication.common.tls import Peer, peer_of
from lab.waiting import Deadline

LONGEST_LINE = 4096
LEAST_WAIT_S = 0.001


class ChannelBroken(ConnectionError):
    """The other side is gone, too slow, or says what has no place here."""


@dataclass(eq=False)
class Channel:
    """One connection; ``peer`` is who its certificate says."""

    connection: ssl.SSLSocket
    peer: Peer
    _rest: bytes = field(default=b"", repr=False)

    @classmethod
    def connect(cls, address: str, port: int, context: ssl.SSLContext, deadline: Deadline) -> Channel:
        """Open a connection. Raises ChannelBroken."""
        try:
            plain = socket.create_connection((address, port), timeout=_left(deadline))
        except OSError as error:
            raise ChannelBroken(f"{address}:{port} does not answer: {error}") from error
        try:
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            plain.settimeout(_left(deadline))
            return cls.of(context.wrap_socket(plain, server_hostname=address))
        except (OSError, ValueError) as error:
            plain.close()
            raise ChannelBroken(f"{address}:{port} is no member of the group: {error}") from error

    @classmethod
    def of(cls, connection: ssl.SSLSocket) -> Channel:
        """Return the channel of a connection whose handshake is done. Raises UnknownPeer."""
        return cls(connection, peer_of(connection.getpeercert() or {}))

    def say(self, what: str, **fields: object) -> None:
        """Send a message. Raises ChannelBroken."""
        try:
            self.connection.sendall(json.dumps({"say": what, **fields}).encode() + b"\n")
        except OSError as error:
            raise ChannelBroken(f"{self.peer.name}: {error}") from error

    def hear(self, expected: str, deadline: Deadline) -> JSON:
        """Return the next message, which has to be ``expected``. Raises ChannelBroken."""
        message = self._next(deadline)
        if message.get("say") == "refuse":
            raise ChannelBroken(f"takes no part: {message.get('why')}")
        if message.get("say") != expected:
            raise ChannelBroken(f"{self.peer.name} says {message.get('say')!r} where {expected!r} is due")
        return message

    def close(self) -> None:
        """Hang up."""
        self.connection.close()

    def _next(self, deadline: Deadline) -> JSON:
        while b"\n" not in self._rest:
            if len(self._rest) > LONGEST_LINE:
                raise ChannelBroken(f"{self.peer.name} sends no lines")
            self._rest += self._receive(deadline)
        line, self._rest = self._rest.split(b"\n", 1)
        try:
            message = json.loads(line)
        except ValueError as error:
            raise ChannelBroken(f"{self.peer.name} sends no JSON") from error
        if not isinstance(message, dict):
            raise ChannelBroken(f"{self.peer.name} sends no object")
        return message

    def _receive(self, deadline: Deadline) -> bytes:
        if deadline.expired:
            raise ChannelBroken(f"{self.peer.name}: no answer within {deadline.seconds:.2f} s")
        try:
            self.connection.settimeout(_left(deadline))
            data = self.connection.recv(LONGEST_LINE)
        except TimeoutError as error:
            raise ChannelBroken(f"{self.peer.name}: no answer within {deadline.seconds:.2f} s") from error
        except OSError as error:
            raise ChannelBroken(f"{self.peer.name}: {error}") from error
        if not data:
            raise ChannelBroken(f"{self.peer.name} has hung up")
        return data


def _left(deadline: Deadline) -> float:
    # A timeout of 0 would mean "do not block" to a socket.
    return max(deadline.remaining, LEAST_WAIT_S)
