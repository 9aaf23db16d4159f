"""Emulated hosts and BMCs as processes of a lab, and the password of a host."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lab.emulators.common.home import ENDPOINT
from lab.errors import LabError
from lab.logs import last_characters
from lab.provision.home import LabFolder
from lab.provision.processes import spawn
from lab.provision.state import EsxiAccess, HypervAccess
from lab.waiting import Deadline, DeadlineExceeded, wait_until

START_SECONDS = 120.0


def start_emulated(
    folder: LabFolder,
    kind: str,
    what: str,
    home: Path,
    arguments: Sequence[str],
    *,
    of: str = "",
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Start the emulator ``kind`` and return what it says of itself. Raises LabError with its last words.

    ``of``: the machine that it belongs to, where a lab has several of a kind. ``environment``: beside our own.
    """
    name = f"emulated-{kind}-{of}" if of else f"emulated-{kind}"
    argv = [sys.executable, "-m", f"lab.emulators.{kind}", "--home", str(home), *arguments]
    process = spawn(folder, name, argv, {**os.environ, **(environment or {})})
    said, log = home / ENDPOINT, folder.processes / f"{name}.log"

    def answers_or_ended() -> bool:
        return said.exists() or not process.alive

    try:
        wait_until(answers_or_ended, Deadline.after(START_SECONDS), f"emulated {what}", every=0.05)
    except DeadlineExceeded as error:
        raise LabError(str(error)) from error
    if not said.exists():
        raise LabError(f"the emulated {what} did not start: {last_characters(log).strip()}")
    found: dict[str, Any] = json.loads(said.read_text(encoding="utf-8"))
    return found


def password_of(access: EsxiAccess | HypervAccess) -> str:
    """Return the password, which is in no state file. Raises LabError."""
    try:
        if access.password_file is not None:
            return access.password_file.read_text(encoding="utf-8").strip()
        return os.environ[access.password_variable]
    except (OSError, KeyError) as error:
        where = access.password_file or f"the environment variable {access.password_variable}"
        raise LabError(f"host {access.host}: there is no password in {where}") from error
