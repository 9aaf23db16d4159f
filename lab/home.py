"""Where the lab keeps what it makes on this machine."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "RECOVERY_LAB_HOME"
SYSTEM_FOLDER = Path("/var/lib/recovery-lab")


def home() -> Path:
    """Return the folder for images and labs: the one that the environment names, else the customary one.

    For root that is below ``/var/lib``, because the system's QEMU runs as a user who cannot enter root's home.
    """
    chosen = os.environ.get(VARIABLE)
    if chosen:
        return Path(chosen).resolve()
    if os.geteuid() == 0:
        return SYSTEM_FOLDER
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "recovery-lab"
