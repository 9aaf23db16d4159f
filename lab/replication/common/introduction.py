"""How a caller without a certificate says who it is: with the first request of a connection, for all that follow on it.

What stands in that request is the business of whoever sends and reads it (``provider/tickets.py``: Kerberos).
"""

from __future__ import annotations

import http.client
import ssl
import time
from dataclasses import dataclass
from typing import Protocol

from lab.replication.common.tls import Peer

PATH = "/v1/introduction"
MOST_BYTES = 64 << 10


class NotIntroduced(ConnectionError):
    """This connection could not be opened as who one is; a later one may be."""


@dataclass(frozen=True)
class Introduced:
    """Who is at the other end, until when (``time.monotonic``), and what the caller is answered."""

    peer: Peer
    until: float
    answer: bytes

    @property
    def over(self) -> bool:
        """Whether the proof has run out: the caller has to come again."""
        return time.monotonic() >= self.until


class Doorkeeper(Protocol):
    """Recognises callers."""

    def receive(self, connection: ssl.SSLSocket, token: bytes) -> Introduced:
        """Return who has sent ``token`` on ``connection``. Raises UnknownPeer."""


class Introduction(Protocol):
    """Makes the caller known."""

    def introduce(self, connection: http.client.HTTPSConnection) -> None:
        """Make oneself known on a new connection. Raises NotIntroduced, OSError, HTTPException."""
