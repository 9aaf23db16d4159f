"""Replaces files as a whole, so that nobody reads half of one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path


def replace_file(path: Path, content: str | bytes) -> None:
    """Put a file in place that everybody may read."""
    raw = content.encode() if isinstance(content, str) else content
    with tempfile.NamedTemporaryFile("wb", dir=path.parent, prefix=".", delete=False) as file:
        file.write(raw)
    os.chmod(file.name, 0o644)  # noqa: PTH101 - the temporary file's name is text
    Path(file.name).replace(path)
