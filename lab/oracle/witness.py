"""The witness: keeps what a writer said outside of what may fail, in an append-only file of ``history``'s lines."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TextIO

from lab.oracle.history import Batch, Ended, Event, HistoryDamaged, Marker, Opened, parse_line

KEPT_REMARKS = 50


class Lines(Protocol):
    """Where a writer's output arrives."""

    def recv(self, size: int, /) -> bytes:
        """Return the next bytes, or nothing when the writer is gone."""


@dataclass(frozen=True)
class Newest:
    """The last step of a lane that the witness heard of; its last acknowledgement in ns of the writer's clock."""

    seq: int
    acked_ns: int


@dataclass
class Heard:
    """What one writer (machine by index) has said until now, in short."""

    machine: int
    opened: int = 0
    """How many times a writer began."""
    steps: int = 0
    ended: bool = False
    lanes: dict[int, Newest] = field(default_factory=dict)
    markers: dict[int, set[int]] = field(default_factory=dict)
    """By marker: the lanes that wrote it."""
    remarks: list[str] = field(default_factory=list)
    """The first lines that were no history: error messages."""


class Witness:
    """Listens to one machine's writer in a thread. May listen again after a connection died: the file goes on."""

    def __init__(self, log: Path, machine: int) -> None:
        self.log = log
        self._heard = Heard(machine)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def listen(self, open_channel: Callable[[], Lines]) -> None:
        """Start to listen. Raises RuntimeError while it still listens to an earlier writer."""
        if self._thread is not None and self._thread.is_alive():
            raise RuntimeError(f"the witness of machine {self._heard.machine} is already listening")
        self._thread = threading.Thread(target=self._follow, args=(open_channel(),), name="witness", daemon=True)
        self._thread.start()

    def join(self, seconds: float) -> bool:
        """Wait until the writer's output has ended, for ``seconds`` at most; return whether it has."""
        if self._thread is None:
            return True
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def newest(self) -> dict[int, Newest]:
        """Return the last known step of each lane."""
        with self._lock:
            return dict(self._heard.lanes)

    def steps(self) -> int:
        """Return how many steps were finished, of all lanes together."""
        with self._lock:
            return self._heard.steps

    def opened(self) -> int:
        """Return how many times a writer began."""
        with self._lock:
            return self._heard.opened

    def lanes_at(self, marker: int) -> frozenset[int]:
        """Return the lanes that have written a marker and are held by it."""
        with self._lock:
            return frozenset(self._heard.markers.get(marker, ()))

    def remarks(self) -> tuple[str, ...]:
        """Return what came instead of history, for error messages."""
        with self._lock:
            return tuple(self._heard.remarks)

    def _follow(self, channel: Lines) -> None:
        rest = b""
        with self.log.open("a", encoding="ascii") as file:
            while data := _receive(channel):
                *lines, rest = (rest + data).split(b"\n")
                with self._lock:
                    for line in lines:
                        self._keep(line.decode("ascii", "replace"), file)
                file.flush()

    def _keep(self, line: str, file: TextIO) -> None:
        try:
            event = parse_line(line, self._heard.machine)
        except HistoryDamaged:
            if len(self._heard.remarks) < KEPT_REMARKS:
                self._heard.remarks.append(line)
            return
        file.write(line + "\n")
        _hear(self._heard, event)


def _hear(heard: Heard, event: Event) -> None:
    if isinstance(event, Batch):
        heard.lanes[event.lane] = Newest(event.last, event.acked)
        heard.steps += event.count
    elif isinstance(event, Marker):
        heard.markers.setdefault(event.marker, set()).add(event.lane)
    elif isinstance(event, Opened):
        heard.opened += 1
        heard.ended = False
    elif isinstance(event, Ended):
        heard.ended = True


def _receive(channel: Lines) -> bytes:
    """Return the next bytes; a connection that dies ends the output, which is what a power cut looks like."""
    try:
        return channel.recv(1 << 16)
    except (OSError, EOFError):
        return b""
