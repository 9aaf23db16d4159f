"""The side of the control API that components use: long-polled commands, their results, events."""

from __future__ import annotations

import functools
import logging
import re
import ssl
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from lab.replication.common.backoff import Backoff
from lab.replication.common.config import Endpoint
from lab.replication.common.durable import JSON
from lab.replication.common.link import Link, Unreachable

log = logging.getLogger(__name__)

POLL_S = 20.0
ANSWER_MARGIN_S = 40.0
HTTP_NO_CONTENT = 204
HTTP_REQUEST_TIMEOUT = 408
HTTP_TOO_MANY = 429

Handler = Callable[[JSON], JSON]


class ControlUnavailable(ConnectionError):
    """The configuration server cannot be reached or cannot serve now; try again later."""


class ControlRefused(RuntimeError):
    """The configuration server understood and said no; the same call would be refused again."""


class CommandFailed(Exception):
    """A command failed for a reason with a name of its own.

    Args:
        kind: the type of the error in the result, such as ``stream-unknown``.
        message: what happened, for people.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Command:
    """An order of the configuration server."""

    id: str
    name: str
    arguments: JSON


class ControlClient:
    """Talks to the configuration server; the long poll has a connection of its own."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext, poll_s: float = POLL_S) -> None:
        self._poll = Link(endpoint, context, timeout=poll_s + ANSWER_MARGIN_S)
        self._calls = Link(endpoint, context, timeout=ANSWER_MARGIN_S)

    def next_command(self, wait: float, busy: Collection[str] = ()) -> Command | None:
        """Return the next command that is not among ``busy``, or None when there was none for ``wait`` seconds.

        Raises:
            ControlUnavailable: no answer, or an error that may pass.
            ControlRefused: this component may not ask.
        """
        value = self._checked(self._poll, "GET", f"/v1/commands?wait={wait:g}&busy={','.join(sorted(busy))}", None)
        if not value:
            return None
        return Command(str(value["id"]), str(value["name"]), value.get("arguments") or {})

    def report(self, command_id: str, *, value: JSON | None = None, error: JSON | None = None) -> None:
        """Report what became of a command: its value, or ``{type, message}``.

        Raises:
            ControlUnavailable: no answer, or an error that may pass.
            ControlRefused: the command is not known.
        """
        result: JSON = {"ok": True, "value": value or {}} if error is None else {"ok": False, "error": error}
        self._checked(self._calls, "POST", f"/v1/commands/{command_id}/result", result)

    def event(self, kind: str, data: JSON, *, machine: str | None = None, stream: str | None = None) -> None:
        """Tell what happened.

        Raises:
            ControlUnavailable: no answer, or an error that may pass.
            ControlRefused: the event is not accepted.
        """
        named: JSON = {"machine": machine, "stream": stream}
        given = {key: value for key, value in named.items() if value is not None}
        self._checked(self._calls, "POST", "/v1/events", {"kind": kind, **given, "data": data})

    def close(self) -> None:
        """Close both connections, also under a poll that is waiting."""
        self._poll.abort()
        self._calls.abort()

    def _checked(self, link: Link, method: str, path: str, value: JSON | None) -> JSON:
        try:
            reply = link.call(method, path, value)
        except Unreachable as error:
            raise ControlUnavailable(str(error)) from error
        if reply.status == HTTP_NO_CONTENT:
            return {}
        if reply.status < 300:  # noqa: PLR2004 - every 2xx is a success
            return reply.json
        temporary = reply.status >= 500 or reply.status in (HTTP_REQUEST_TIMEOUT, HTTP_TOO_MANY)  # noqa: PLR2004
        failure = ControlUnavailable if temporary else ControlRefused
        raise failure(f"{method} {path.partition('?')[0]}: HTTP {reply.status}")


def serve_commands(
    client: ControlClient,
    handlers: Mapping[str, Handler],
    stop: threading.Event,
    polled: Callable[[], None] = lambda: None,
    slow: Collection[str] = (),
) -> None:
    """Take and execute commands until ``stop``; ``polled`` is called after every answered poll.

    The first poll is answered at once: whoever waits for a sign of life waits for ``polled``.

    One at a time, except for ``slow`` ones: they run beside the others, each in a thread of its own.
    """
    backoff = Backoff(stop)
    busy: dict[str, threading.Thread] = {}
    wait_s = 0.0
    while not stop.is_set():
        busy = {command_id: thread for command_id, thread in busy.items() if thread.is_alive()}
        try:
            command = client.next_command(wait_s, busy)
        except (ControlUnavailable, ControlRefused) as error:
            log.warning("no commands: %s", error)
            backoff.pause()
            continue
        backoff.reset()
        wait_s = POLL_S
        polled()
        if command is None:
            continue
        execute = functools.partial(_execute_and_report, client, command, handlers, stop)
        if command.name in slow:
            busy[command.id] = threading.Thread(target=execute, name=command.name, daemon=True)
            busy[command.id].start()
        else:
            execute()


def _execute_and_report(
    client: ControlClient, command: Command, handlers: Mapping[str, Handler], stop: threading.Event
) -> None:
    _report_until_accepted(client, command, _execute(command, handlers), stop)


def _execute(command: Command, handlers: Mapping[str, Handler]) -> JSON:
    """Run the handler; return the keyword arguments of ``report``."""
    handler = handlers.get(command.name)
    if handler is None:
        return {"error": {"type": "unknown-command", "message": f"no command {command.name!r} here"}}
    log.info("command %s (%s)", command.name, command.id)
    try:
        return {"value": handler(command.arguments)}
    except CommandFailed as error:
        log.warning("command %s: %s: %s", command.name, error.kind, error)
        return {"error": {"type": error.kind, "message": str(error)}}
    except Exception as error:  # a failing command must not end the service: whoever asked is told
        log.exception("command %s failed", command.name)
        return {"error": {"type": _dashed(type(error).__name__), "message": str(error)}}


def _dashed(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()


def _report_until_accepted(client: ControlClient, command: Command, result: JSON, stop: threading.Event) -> None:
    backoff = Backoff(stop)
    while True:
        try:
            client.report(command.id, **result)
        except ControlUnavailable as error:
            log.warning("result of %s not delivered: %s", command.name, error)
        except ControlRefused as error:
            log.warning("result of %s not wanted: %s", command.name, error)
            return
        else:
            return
        if not backoff.pause():
            return
