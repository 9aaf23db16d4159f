"""What the writer said, kept outside of what may fail: an append-only file of acknowledged records."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO


class Lines(Protocol):
    """Where the writer's output arrives."""

    def recv(self, size: int, /) -> bytes:
        """Return the next bytes, or nothing when the writer is gone."""


@dataclass(frozen=True)
class Acknowledged:
    """One record that the writer was told is on stable storage; times are the writer's clock in nanoseconds."""

    sequence: int
    issued_ns: int
    acknowledged_ns: int


class Witness:
    """Reads the writer's output in a thread until it ends, and keeps every line."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._thread: threading.Thread | None = None
        self._records: list[Acknowledged] = []
        self._lock = threading.Lock()

    def listen(self, open_channel: Callable[[], Lines]) -> None:
        """Start to listen."""
        self._thread = threading.Thread(target=self._follow, args=(open_channel(),), name="witness", daemon=True)
        self._thread.start()

    def records(self) -> list[Acknowledged]:
        """Return what was acknowledged until now, in order."""
        with self._lock:
            return list(self._records)

    def join(self, seconds: float) -> None:
        """Wait until the writer's output has ended, for ``seconds`` at most."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _follow(self, channel: Lines) -> None:
        rest = b""
        with self._log.open("a", encoding="ascii") as file:
            while data := _receive(channel):
                *lines, rest = (rest + data).split(b"\n")
                self._keep(lines, file)

    def _keep(self, lines: list[bytes], file: TextIO) -> None:
        for line in lines:
            fields = line.split()
            if len(fields) != 3 or not all(field.isdigit() for field in fields):  # noqa: PLR2004 - three numbers a line
                continue
            file.write(line.decode("ascii") + "\n")
            with self._lock:
                self._records.append(Acknowledged(*map(int, fields)))
        file.flush()


def _receive(channel: Lines) -> bytes:
    """Return the next bytes; a connection that dies ends the output, which is what a power cut looks like."""
    try:
        return channel.recv(1 << 16)
    except (OSError, EOFError):
        return b""
