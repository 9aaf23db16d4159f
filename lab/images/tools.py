"""Programs that media are made with."""

from __future__ import annotations

import subprocess
from pathlib import Path

from lab.errors import LabError
from lab.images.disk import ENVIRONMENT, TOOL_SECONDS


def run_tool(command: list[str], *, given: bytes = b"", cwd: Path | None = None) -> bytes:
    """Run a program with ``given`` as its input and return what it printed. Raises LabError with its last words."""
    try:
        done = subprocess.run(
            command, check=True, input=given, capture_output=True, timeout=TOOL_SECONDS, env=ENVIRONMENT, cwd=cwd
        )
    except FileNotFoundError as error:
        raise LabError(f"{command[0]} is missing", hint="make bootstrap installs it") from error
    except subprocess.CalledProcessError as error:
        raise LabError(f"{command[0]} failed: {error.stderr.decode(errors='replace').strip()[-300:]}") from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{command[0]} did not end within {TOOL_SECONDS:.0f} s") from error
    return done.stdout
