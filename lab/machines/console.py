"""The recorded serial console."""

from __future__ import annotations

import re
from pathlib import Path

TAIL_LINES = 20
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f]")


def console_tail(log: Path, lines: int = TAIL_LINES) -> str:
    """Return the last lines that a machine printed, without control sequences."""
    if not log.exists():
        return "(nothing on the console)"
    text = _CONTROL.sub("", log.read_text(errors="replace"))
    return "\n".join([line for line in text.splitlines() if line.strip()][-lines:]) or "(nothing on the console)"
