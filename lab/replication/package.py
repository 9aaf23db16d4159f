"""Building the package that installers unpack: the same files always give the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IGNORED = {"__pycache__"}


def build_package(destination: Path, root: Path = ROOT) -> str:
    """Write ``lab/__init__.py``, ``lab/waiting.py`` and ``lab/replication`` as a tar.gz; return its SHA-256 (hex)."""
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0, filename="") as compressed,
        tarfile.open(fileobj=compressed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in _files(root):
            data = path.read_bytes()
            entry = tarfile.TarInfo(str(path.relative_to(root)))
            entry.size = len(data)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(data))
    destination.write_bytes(buffer.getvalue())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def _files(root: Path) -> list[Path]:
    replication = [path for path in (root / "lab" / "replication").rglob("*") if path.is_file()]
    kept = [path for path in replication if not IGNORED & set(path.parts)]
    return [root / "lab" / "__init__.py", root / "lab" / "waiting.py", *sorted(kept)]
