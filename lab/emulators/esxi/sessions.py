"""Who is logged in. Sessions end on logout and after a time without calls; passwords are compared in constant time."""

from __future__ import annotations

import hmac
import secrets
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

IDLE_SECONDS = 1800.0


@dataclass(frozen=True)
class Account:
    """A name and password of the emulator; ``read_only`` is the role of that name: look, change nothing."""

    user: str
    password: str = field(repr=False)
    read_only: bool = False

    def fits(self, user: str, password: str) -> bool:
        """Whether these are its name and password."""
        same_user = hmac.compare_digest(user.encode(), self.user.encode())
        return hmac.compare_digest(password.encode(), self.password.encode()) and same_user


@dataclass
class Session:
    """One client; ``user`` is empty until it has logged in."""

    cookie: str = field(default_factory=lambda: secrets.token_hex(20), repr=False)
    key: str = field(default_factory=lambda: secrets.token_hex(16))
    user: str = ""
    read_only: bool = False
    agent: str = ""
    login_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    used: float = field(default_factory=time.monotonic)


class Sessions:
    """The sessions that are logged in, by cookie."""

    def __init__(self, *accounts: Account) -> None:
        self._accounts = accounts
        self._by_cookie: dict[str, Session] = {}
        self._lock = threading.Lock()

    def account(self, user: str, password: str) -> Account | None:
        """Return the account of a name and password; every one is compared, so that time tells nothing."""
        fitting = [account for account in self._accounts if account.fits(user, password)]
        return fitting[0] if fitting else None

    def of(self, cookie: str | None) -> Session:
        """Return the live session of a cookie, or a new one that is not logged in."""
        with self._lock:
            found = self._by_cookie.get(cookie or "")
            if found is None or time.monotonic() - found.used > IDLE_SECONDS:
                return Session()
            found.used = time.monotonic()
            return found

    def log_in(self, session: Session, user: str, password: str) -> bool:
        """Log a session in, if the password is right."""
        account = self.account(user, password)
        if account is None:
            return False
        with self._lock:
            session.user, session.read_only = user, account.read_only
            self._by_cookie[session.cookie] = session
        return True

    def log_out(self, session: Session) -> None:
        """End a session."""
        with self._lock:
            session.user = ""
            self._by_cookie.pop(session.cookie, None)

    def by_key(self, key: str) -> Session | None:
        """Return the session with this key, which is no secret."""
        with self._lock:
            return next((session for session in self._by_cookie.values() if session.key == key), None)

    def expire_all(self) -> int:
        """End every session, as a host does that was restarted; return how many there were."""
        with self._lock:
            count = len(self._by_cookie)
            for session in self._by_cookie.values():
                session.user = ""
            self._by_cookie.clear()
            return count
