"""Seals the folder of a run: signs what lies in it. Also says what lies in a folder now."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from importlib.metadata import version
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lab.errors import LabError
from lab.ledger import file_digest
from reports.bundle.envelope import SealedFile, sign
from reports.bundle.keys import fingerprint
from reports.durable import replace_file
from reports.model import Certificate

SEAL_FILE = "evidence.dsse.json"
_REPORTS = Path(__file__).resolve().parents[1]


class UnsealableFile(LabError):
    """Something in the folder is neither a file nor a folder: a link could point anywhere."""


def files_in(folder: Path) -> list[SealedFile]:
    """Return every file below a folder but the seal itself, in the order of their paths.

    Raises:
        UnsealableFile: there is a link, a socket, a device.
    """
    return sorted(_sealed(folder, path) for path in _walk(folder) if path != folder / SEAL_FILE)


def seal(folder: Path, certificate: Certificate, key: Ed25519PrivateKey) -> str:
    """Sign everything in the folder of a run; return the fingerprint of the key. Raises UnsealableFile."""
    about = {"run": str(certificate.run["run"]), "verdict": certificate.verdict.value, **makers()}
    replace_file(folder / SEAL_FILE, sign(files_in(folder), about, key))
    return fingerprint(key.public_key())


def makers() -> dict[str, str]:
    """Return the versions on which the bytes of a certificate depend."""
    return {
        "recovery-lab": version("recovery-lab"),
        "reports": reports_digest(),
        "matplotlib": version("matplotlib"),
        "jinja2": version("jinja2"),
    }


@cache
def reports_digest() -> str:
    """Return a digest of the code and the templates that make certificates: two with the same one write the same."""
    digest = hashlib.sha256()
    sources = [*_REPORTS.rglob("*.py"), *(_REPORTS / "templates").iterdir(), _REPORTS.parent / "lab/requirements.py"]
    for path in sorted(sources):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _walk(folder: Path) -> list[Path]:
    found = []
    for place, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(place, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise UnsealableFile(f"{path}: neither a file nor a folder, it cannot be evidence")
        found += [Path(place, name) for name in files]
    return found


def _sealed(folder: Path, path: Path) -> SealedFile:
    return SealedFile(path.relative_to(folder).as_posix(), file_digest(path), path.stat().st_size)
