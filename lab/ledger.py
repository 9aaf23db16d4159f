"""The events of a run in one append-only file, each line chained to the one before by its SHA-256.

A line is a JSON object: ``previous`` (SHA-256 of the bytes of the line before, zeros in the first), ``kind``, ``at``
(UTC, nanoseconds), ``who``, ``what``, ``data``, ``evidence`` (SHA-256 of a file of evidence, or null). Several
processes may write: a lock is held from reading the last line to appending the next.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from lab.errors import LabError

_NO_LINE = "0" * 64
_LAST_LINE_WINDOW = 65536


class EventKind(StrEnum):
    """What an event is about."""

    RUN_STARTED = "run-started"
    ENVIRONMENT = "environment"
    TOPOLOGY = "topology"
    MACHINE = "machine"
    STACK = "stack"
    TEST = "test"
    MEASUREMENT = "measurement"
    RECOVERY_POINT = "recovery-point"
    PROOF = "proof"
    PORTS = "ports"
    TIMELINE = "timeline"
    LEFT_OUT = "left-out"
    SENSITIVITY = "sensitivity"
    PHASE = "phase"
    RUN_ENDED = "run-ended"


class LedgerError(LabError):
    """A ledger is damaged or was changed; the message names the line."""


@dataclass(frozen=True)
class Event:
    """Something that happened: ``who`` did ``what`` at ``at`` (UTC ISO 8601 with nanoseconds)."""

    kind: EventKind
    at: str
    who: str
    what: str
    data: Mapping[str, Any] = field(default_factory=dict)
    evidence: str | None = None


def utc_now() -> str:
    """Return the time as ISO 8601 in UTC with nanoseconds."""
    seconds, nanoseconds = divmod(time.time_ns(), 10**9)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanoseconds:09d}Z"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file, for an event's ``evidence``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Ledger:
    """Writes events to a file; safe between threads and between processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def record(
        self,
        kind: EventKind,
        who: str,
        what: str,
        data: Mapping[str, Any] | None = None,
        evidence: str | None = None,
    ) -> Event:
        """Append an event that happens now and return it.

        Raises:
            LedgerError: the file ends in half a line.
        """
        with self._lock, _open_locked(self.path) as file:
            event = Event(kind, utc_now(), who, what, data or {}, evidence)
            line = _line(event, _digest_of_last_line(file, self.path))
            view = memoryview(line)
            while view:
                view = view[os.write(file, view) :]
            os.fsync(file)
        return event


def read_ledger(path: Path) -> list[Event]:
    """Return all events.

    Raises:
        LedgerError: the file cannot be read, or a line is damaged, missing, added or changed.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LedgerError(f"{path}: {error.strerror}") from error
    if content and not content.endswith(b"\n"):
        raise LedgerError(f"{path}: the last line is cut off")
    events, previous = [], _NO_LINE
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        events.append(_parse(line, previous, f"{path}:{number}"))
        previous = hashlib.sha256(line).hexdigest()
    return events


def _line(event: Event, previous: str) -> bytes:
    content = {
        "previous": previous,
        "kind": event.kind.value,
        "at": event.at,
        "who": event.who,
        "what": event.what,
        "data": event.data,
        "evidence": event.evidence,
    }
    return json.dumps(content, separators=(",", ":")).encode() + b"\n"


def _parse(line: bytes, previous: str, place: str) -> Event:
    try:
        content = cast("dict[str, Any]", json.loads(line))
        if content.pop("previous") != previous:
            raise LedgerError(f"{place}: the chain is broken: the line before this one is not the one that was written")
        return Event(kind=EventKind(content.pop("kind")), **content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LedgerError(f"{place}: not an event: {error}") from error


@contextmanager
def _open_locked(path: Path) -> Iterator[int]:
    path.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file
    finally:
        os.close(file)


def _digest_of_last_line(file: int, path: Path) -> str:
    size = os.fstat(file).st_size
    if size == 0:
        return _NO_LINE
    window = min(size, _LAST_LINE_WINDOW)
    tail = os.pread(file, window, size - window)
    if not tail.endswith(b"\n"):
        raise LedgerError(f"{path}: the last line is cut off")
    while b"\n" not in tail[:-1] and window < size:
        window = min(size, window * 2)
        tail = os.pread(file, window, size - window)
    return hashlib.sha256(tail[:-1].rsplit(b"\n", 1)[-1]).hexdigest()
