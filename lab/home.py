"""Where the lab keeps what it makes on this machine."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """Return the folder for images, labs and runs: ``LAB_HOME``, or the user's cache folder."""
    chosen = os.environ.get("LAB_HOME")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "recovery-lab"
