"""The ends of log files, for error messages: what a program said last."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

LINES = 20
CHARACTERS = 1000
NOTHING = "(nothing)"


def last_lines(log: Path, lines: int = LINES, *, shown: Callable[[str], str] = str, nothing: str = NOTHING) -> str:
    """Return the last lines of a log that say something, or ``nothing``; ``shown`` makes its text readable first."""
    if not log.exists():
        return nothing
    text = shown(log.read_text(encoding="utf-8", errors="replace"))
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:]) or nothing


def last_characters(log: Path) -> str:
    """Return the end of a log as it is. Raises OSError when there is none."""
    return log.read_text(encoding="utf-8", errors="replace")[-CHARACTERS:]
