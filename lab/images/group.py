"""A program that has to tidy up after itself, with everything that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lab.errors import LabError

TIDY_SECONDS = 30.0


def run_group(command: Sequence[str], log: Path, seconds: float) -> int:
    """Run a program, its output in ``log``, and return its exit code.

    However the wait for it ends, its whole process group is asked to end before it is killed: mmdebstrap has mounts in
    the folder that it fills. Killed it leaves them; asked alone it first installs the rest; as a group it is gone, and
    they are, within a second.

    Raises:
        LabError: it did not end in time.
    """
    with log.open("wb") as output:
        # Not close_fds: it inherits the lock of the folder that it works in (lab/images/cache.py).
        process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True, close_fds=False)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{command[0]} did not end within {seconds:.0f} s", hint=f"whole log: {log}") from error
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(TIDY_SECONDS)
    except subprocess.TimeoutExpired:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(TIDY_SECONDS)
