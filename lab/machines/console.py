"""The recorded serial console."""

from __future__ import annotations

import re
from pathlib import Path

TAIL_LINES = 20
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # colours, cursor, modes
    r"|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles
    r"|\x1b[ -/]*[0-Z\\^-~]"  # character sets, resets
    r"|[\x00-\x08\x0b-\x1f\x7f]"
)


def console_tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines that a machine printed, without control sequences."""
    if not log.exists():
        return "(nothing on the console)"
    text = without_control(log.read_text(encoding="utf-8", errors="replace"))
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:]) or "(nothing on the console)"


def without_control(text: str) -> str:
    """Return the text as a terminal without any abilities would show it."""
    return _CONTROL.sub("", text)
