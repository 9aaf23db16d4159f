"""Files that are whole and on disk, or not there at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

JSON = dict[str, Any]


def sync_directory(directory: Path) -> None:
    """Make the names in ``directory`` durable."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the content of a file durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def commit_file(temporary: Path, final: Path) -> None:
    """Give the synced file ``temporary`` its final name, durably; both are in one directory."""
    temporary.replace(final)
    sync_directory(final.parent)


def write_atomically(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data``; after a crash it holds the old content or the new one, never a mix."""
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(descriptor, "wb") as file:
        # An earlier attempt may have left the file with other permissions.
        os.fchmod(file.fileno(), mode)
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    commit_file(temporary, path)


def write_json(path: Path, value: JSON) -> None:
    """Replace ``path`` by ``value`` as JSON, atomically and durably."""
    write_atomically(path, json.dumps(value, indent=1).encode())


def read_json(path: Path) -> JSON | None:
    """Return the JSON object in ``path``, or None when there is no such file."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    value: JSON = json.loads(text)
    return value
