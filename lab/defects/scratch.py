"""Folders of processes of probes. One that is killed cannot remove its own: whoever probes next does."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "recovery-lab-probes-"


def new_scratch() -> Path:
    """Return a new folder, locked until this process and all that it forks are gone."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        if _lock(folder):
            return folder


def remove_abandoned() -> None:
    """Remove the folders of this user's processes that are gone."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            _remove_if_abandoned(folder)
        except OSError:  # Another's, or removed by somebody else just now.
            continue


def _lock(folder: Path) -> bool:
    """Lock a folder; False when another command took it for abandoned before that, and removed it."""
    try:
        # Left open on purpose: the lock is what says that somebody still uses the folder.
        fcntl.flock(os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC), fcntl.LOCK_SH)
    except FileNotFoundError:
        return False
    return folder.is_dir()


def _remove_if_abandoned(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(handle).st_uid != os.geteuid():
            return
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)
