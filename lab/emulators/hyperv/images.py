"""The few calls of qemu-img: sizes, copies and merges of disk images."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from lab.emulators.hyperv.backend import BackendError

TOOL_SECONDS = 3600.0


def size_of(image: Path) -> int:
    """Return the size of the disk that an image holds, in bytes. Raises BackendError."""
    document = json.loads(_run("info", "-U", "--output=json", str(image)))
    return int(document["virtual-size"])


def copy(source: Path, target: Path) -> None:
    """Write what an image shows, its backing images included, into a raw file that is there and reads as zeros."""
    _run("convert", "-U", "-n", "--target-is-zero", "-O", "raw", str(source), str(target))


def commit(overlay: Path) -> None:
    """Write what an overlay holds into its backing image."""
    _run("commit", "-q", "-d", str(overlay))


def rebase(overlay: Path, backing: Path, backing_format: str) -> None:
    """Let an overlay name another backing image that shows the same."""
    _run("rebase", "-u", "-F", backing_format, "-b", str(backing), str(overlay))


def _run(*arguments: str) -> str:
    command = ["qemu-img", *arguments]
    try:
        result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TOOL_SECONDS)
    except subprocess.CalledProcessError as error:
        raise BackendError(f"qemu-img {arguments[0]}: {error.stderr.strip()}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BackendError(f"qemu-img {arguments[0]}: {error}") from error
    return result.stdout
