"""What the user sees while machines come up: a live table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

STEPS_DONE = frozenset({"ready", "failed", "removed"})


class Board(Protocol):
    """Told about each step; decides how to show it."""

    def step(self, subject: str, step: str) -> None:
        """Say that ``subject`` has reached ``step``."""


class ConsoleBoard:
    """Board on a rich console."""

    def __init__(self, console: Console, title: str) -> None:
        self._console = console
        self._title = title
        self._begin = time.monotonic()
        self._lock = threading.Lock()
        self._rows: dict[str, tuple[str, float]] = {}
        self._live = Live(self._table(), console=console, refresh_per_second=8) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def step(self, subject: str, step: str) -> None:
        """Show a step with the seconds since the beginning."""
        elapsed = time.monotonic() - self._begin
        with self._lock:
            self._rows[subject] = (step, elapsed)
            if self._live is not None:
                self._live.update(self._table())
            else:
                self._console.print(f"[{elapsed:6.1f} s] {subject}: {step}", markup=False, highlight=False)

    def _table(self) -> Table:
        table = Table(title=self._title, title_justify="left", box=None)
        for column in ("", "what", "step", "at"):
            table.add_column(column, justify="right" if column == "at" else "left")
        for subject, (step, elapsed) in self._rows.items():
            mark = ("✓" if step != "failed" else "✗") if step in STEPS_DONE else Spinner("dots")
            table.add_row(mark, subject, step, f"{elapsed:.1f} s")
        return table
