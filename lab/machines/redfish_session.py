"""A login at a Redfish service: reads that are repeated, changes that never are."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from enum import Enum, auto
from http import HTTPStatus
from typing import Any

import httpx

from lab.hypervisors.trust import Trust
from lab.machines.power import BmcError, LoginRefused
from lab.waiting import Deadline, DeadlineExceeded, wait_until

ROOT = "/redfish/v1"
SESSIONS = f"{ROOT}/SessionService/Sessions"
TOKEN = "X-Auth-Token"  # noqa: S105 - the name of a header
CALL_SECONDS = 30.0
READ_SECONDS = 60.0
RETRY_SECONDS = 0.5
WORDS = 300


class Change(Enum):
    """What is known about a change after its answer. ``UNKNOWN``: the service failed while it was at it."""

    ACCEPTED = auto()
    UNKNOWN = auto()


@dataclass(frozen=True)
class Target:
    """Where a BMC is and who logs in. ``system``: its id, needed when the service has several."""

    endpoint: str
    user: str
    password: str = field(repr=False)
    trust: Trust
    system: str | None = None


class RedfishSession:
    """Logs in when it is made; ``close`` logs out, without which a BMC soon has no session left."""

    def __init__(self, target: Target) -> None:
        self._target = target
        try:
            context = target.trust.context()
        except (OSError, ssl.SSLError) as error:
            raise BmcError(f"{target.endpoint}: {target.trust.certificate} is no certificate: {error}") from error
        # The environment names no proxy for a BMC, and redirections lead nowhere that was verified.
        self._client = httpx.Client(base_url=target.endpoint, verify=context, timeout=CALL_SECONDS, trust_env=False)
        self._session = ""
        try:
            self._login()
        except BaseException:
            self._client.close()
            raise

    def get(self, path: str) -> dict[str, Any]:
        """Return a resource. Busy services and broken connections are asked again. Raises BmcError."""
        problem = ["no answer"]
        found: list[httpx.Response] = []

        def answered() -> bool:
            try:
                answer = self._client.get(_local(path))
            except httpx.TransportError as error:
                problem[0] = str(error) or type(error).__name__
                return False
            problem[0] = _words(answer)
            found[:] = [answer]
            return answer.status_code != HTTPStatus.SERVICE_UNAVAILABLE

        for attempt in range(2):
            try:
                wait_until(answered, Deadline.after(READ_SECONDS), "answer", every=RETRY_SECONDS)
            except DeadlineExceeded as error:
                raise BmcError(f"{self._target.endpoint}: {path}: {error}: {problem[0]}") from error
            if found[0].status_code != HTTPStatus.UNAUTHORIZED or attempt:
                break
            # Sessions expire, and a BMC that restarts forgets them.
            self._login()
        return self._document(found[0], path)

    def clock(self) -> int:
        """Return the service's own time, in seconds since 1970. Raises BmcError when it does not say it."""
        try:
            answer = self._client.get(ROOT)
            return int(parsedate_to_datetime(answer.headers["Date"]).timestamp())
        except (httpx.TransportError, KeyError, ValueError) as error:
            raise BmcError(f"{self._target.endpoint} does not tell the time: {error!r}") from error

    def change(self, method: str, path: str, body: Mapping[str, Any], seconds: float = CALL_SECONDS) -> Change:
        """Ask for a change, once, and wait so long for the answer. Raises BmcError when it is refused."""
        try:
            answer = self._client.request(method, _local(path), json=dict(body), timeout=seconds)
        except httpx.TransportError:
            return Change.UNKNOWN
        if answer.is_server_error:
            return Change.UNKNOWN
        if not answer.is_success:
            raise BmcError(f"{self._target.endpoint}: {method} {path}: {_words(answer)}")
        return Change.ACCEPTED

    def close(self) -> None:
        """Log out."""
        with suppress(httpx.TransportError):
            if self._session:
                self._client.delete(self._session)
        self._client.close()

    def _login(self) -> None:
        self._client.headers.pop(TOKEN, None)
        account = {"UserName": self._target.user, "Password": self._target.password}
        try:
            answer = self._client.post(SESSIONS, json=account)
        except httpx.TransportError as error:
            raise BmcError(f"{self._target.endpoint} cannot be reached: {error}") from error
        if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise LoginRefused(f"{self._target.endpoint} does not accept the password of {self._target.user}")
        token = answer.headers.get(TOKEN)
        if not answer.is_success or token is None:
            raise BmcError(f"{self._target.endpoint}: login: {_words(answer)}")
        self._client.headers[TOKEN] = token
        location = answer.headers.get("Location", "")
        # Some services give a whole URL.
        self._session = httpx.URL(location).path if location else ""

    def _document(self, answer: httpx.Response, path: str) -> dict[str, Any]:
        if not answer.is_success:
            raise BmcError(f"{self._target.endpoint}: GET {path}: {_words(answer)}")
        try:
            document = answer.json()
        except ValueError as error:
            raise BmcError(f"{self._target.endpoint}: GET {path}: no JSON: {_words(answer)}") from error
        if not isinstance(document, dict):
            raise BmcError(f"{self._target.endpoint}: GET {path}: an object is expected")
        return document


def _local(path: str) -> str:
    """Return a path of the service. Raises BmcError: a link to elsewhere would take the token there."""
    if not path.startswith("/") or path.startswith("//"):
        raise BmcError(f"the BMC names '{path[:WORDS]}', which is no path of its own")
    return path


def _words(answer: httpx.Response) -> str:
    """Return the status and the service's own words."""
    try:
        said = str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        said = answer.text
    return f"{answer.status_code} {said.strip()[:WORDS]}".strip()
