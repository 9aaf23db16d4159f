"""Who may use an emulated BMC: one account, by Basic authentication or by a session."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field

from werkzeug.wrappers import Request

SESSION_SECONDS = 1800.0
MOST_SESSIONS = 16
"""A real BMC has few; who never logs out runs into this."""
TOKEN = "X-Auth-Token"  # noqa: S105 - the name of a header


class TooManySessions(Exception):
    """Nobody logged out."""


@dataclass
class Accounts:
    """One account and its sessions."""

    user: str
    password: str = field(repr=False)
    _sessions: dict[str, tuple[str, float]] = field(default_factory=dict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def knows(self, user: object, password: object) -> bool:
        """Whether these are right, in the same time for every wrong one."""
        given = f"{user}\0{password}".encode(errors="replace")
        return secrets.compare_digest(given, f"{self.user}\0{self.password}".encode())

    def log_in(self) -> tuple[str, str]:
        """Return the token and the id of a new session. Raises TooManySessions."""
        token, identity = secrets.token_hex(16), secrets.token_hex(4)
        with self._lock:
            self._forget_old()
            if len(self._sessions) >= MOST_SESSIONS:
                raise TooManySessions
            self._sessions[token] = (identity, time.monotonic() + SESSION_SECONDS)
        return token, identity

    def log_out(self, identity: str) -> bool:
        """End a session; False when there is none of that id."""
        with self._lock:
            found = [token for token, (known, _) in self._sessions.items() if known == identity]
            for token in found:
                del self._sessions[token]
        return bool(found)

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        with self._lock:
            self._forget_old()
            return len(self._sessions)

    def forget_sessions(self) -> None:
        """Do as a BMC that restarts."""
        with self._lock:
            self._sessions.clear()

    def admit(self, request: Request) -> bool:
        """Whether a request carries a session's token or the right password."""
        token = request.headers.get(TOKEN)
        if token is not None:
            with self._lock:
                self._forget_old()
                return token in self._sessions
        given = request.authorization
        return given is not None and given.type == "basic" and self.knows(given.username, given.password)

    def _forget_old(self) -> None:
        now = time.monotonic()
        self._sessions = {token: found for token, found in self._sessions.items() if found[1] > now}
