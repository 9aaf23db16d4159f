"""The seed disk that hands a machine its identity: one archive for our own recipes, documents for cloud-init."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

from lab.errors import LabError
from lab.images.cloud_init import DISKS_ARCHIVE, disk_files, documents
from lab.images.identity import Identity, identity_files

SEED_SECONDS = 30.0


def write_seed(identity: Identity, path: Path) -> None:
    """Write the seed disk. Raises LabError when the ISO tool fails."""
    # It holds the machine's private host key; libvirt gives the file to QEMU's user when the machine starts.
    try:
        path.touch(mode=0o600)
        path.chmod(0o600)
    except OSError as error:
        raise LabError(f"the seed disk of {identity.machine} was not written: {error}") from error
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "identity.tar").write_bytes(tar_of(identity_files(identity)))
        (work / DISKS_ARCHIVE).write_bytes(tar_of(disk_files(identity)))
        for name, document in documents(identity).items():
            with (work / name).open("w", encoding="utf-8") as file:
                file.write("#cloud-config\n" if name == "user-data" else "")
                # JSON is YAML with every text quoted: cloud-init reads a bare 52:54:00:12:34:56 as a number.
                json.dump(document, file, indent=1)
        command = ["genisoimage", "-quiet", "-V", "cidata", "-J", "-r", "-o", str(path), folder]
        try:
            result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SEED_SECONDS)
        except FileNotFoundError as error:
            raise LabError("genisoimage is missing", hint="make bootstrap installs it") from error
    if result.returncode != 0:
        raise LabError(f"the seed disk of {identity.machine} was not written: {result.stderr.strip()}")


def tar_of(files: dict[str, tuple[str, int]]) -> bytes:
    """Return an archive of path to (text, mode)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, (text, mode) in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            content = text.encode()
            entry.size, entry.mode = len(content), mode
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()
