"""Files that tests leave as evidence, stored under their own digest."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any


class EvidenceRecorder:
    """Stores evidence of one test in the run's folder and notes it in the test's report."""

    def __init__(self, run_dir: Path, properties: list[tuple[str, Any]]) -> None:
        self._run_dir = run_dir
        self._properties = properties

    def attach(self, name: str, content: str | bytes | Path) -> str:
        """Store text, bytes or a copy of a file, and return its SHA-256."""
        raw = _bytes(content)
        digest = hashlib.sha256(raw).hexdigest()
        path = Path("evidence") / f"{digest[:16]}-{re.sub(r'[^A-Za-z0-9._-]', '-', name)}"
        target = self._run_dir / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(raw)
        note = {"name": name, "path": path.as_posix(), "sha256": digest, "size": len(raw)}
        self._properties.append(("evidence", note))
        return digest


def _bytes(content: str | bytes | Path) -> bytes:
    if isinstance(content, Path):
        return content.read_bytes()
    return content.encode() if isinstance(content, str) else content
