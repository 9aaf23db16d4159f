"""The recorded serial console."""

from __future__ import annotations

import re
from pathlib import Path

from lab.logs import last_lines

TAIL_LINES = 20
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor, modes
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles
    r"|\x1b[ -/]*[0-Z\\^-~]"  # character sets, resets
    r"|[\x00-\x08\x0b-\x1f\x7f]"
)


def console_tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines that a machine printed, without control sequences."""
    return last_lines(log, lines, shown=without_control, nothing="(nothing on the console)")


def without_control(text: str) -> str:
    """Return the text as a terminal without any abilities would show it."""
    return _CONTROL.sub("", text)
