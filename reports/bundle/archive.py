"""Bundles as tar archives: written the same for the same files, and read as if an enemy had written them."""

from __future__ import annotations

import gzip
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from lab.errors import BadInput

MAX_FILES = 100_000
MAX_BYTES = 8 << 30
MAX_RATIO = 200
"""Unpacked bytes for each packed one; consoles and journals compress 20 to 50 times."""
FREE_OF_RATIO = 64 << 20
_GZIP = b"\x1f\x8b"


@dataclass(frozen=True)
class Limits:
    """How much an archive may unpack to."""

    files: int = MAX_FILES
    bytes: int = MAX_BYTES
    ratio: int = MAX_RATIO
    free: int = FREE_OF_RATIO

    def bytes_of(self, packed: int) -> int:
        """Return how many bytes an archive of ``packed`` bytes may unpack to."""
        return min(self.bytes, self.free + self.ratio * packed)


def pack(folder: Path, target: Path) -> None:
    """Write all files of a folder as a ``.tar.gz``, below one folder of its name."""
    part = target.with_name(f".{target.name}.part")
    with (
        part.open("wb") as raw,
        gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed,
        tarfile.open(fileobj=cast("IO[bytes]", packed), mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                _add(archive, path, f"{folder.name}/{path.relative_to(folder).as_posix()}")
    part.replace(target)


@contextmanager
def opened(bundle: Path, limits: Limits | None = None) -> Iterator[Path]:
    """Yield the folder of a run: the one that is given, or what an archive holds, unpacked for as long as it is used.

    Raises:
        BadInput: neither a folder nor a tar archive, or one that must not be unpacked; nothing is left behind.
    """
    if bundle.is_dir():
        yield bundle
        return
    with tempfile.TemporaryDirectory(prefix="recovery-lab-bundle-") as scratch:
        unpack(bundle, Path(scratch), limits or Limits())
        inside = list(Path(scratch).iterdir())
        yield inside[0] if len(inside) == 1 and inside[0].is_dir() else Path(scratch)


def unpack(bundle: Path, target: Path, limits: Limits) -> None:
    """Unpack files and folders of an archive below ``target``, which is empty.

    Raises:
        BadInput: it cannot be read; it has links, devices, names that lead outside or come twice; it is too much.
    """
    try:
        with bundle.open("rb") as file, _plain(file) as plain:
            source = _Bounded(plain, limits.bytes_of(bundle.stat().st_size), bundle)
            with tarfile.open(fileobj=cast("IO[bytes]", source), mode="r|") as archive:
                for number, member in enumerate(archive, 1):
                    if number > limits.files:
                        raise BadInput(f"{bundle}: more than {limits.files} files")
                    _unpack_one(archive, member, target, bundle)
    except OSError as error:
        raise BadInput(f"{bundle}: {error.strerror or error}") from error
    except (tarfile.TarError, zlib.error, EOFError, ValueError) as error:
        raise BadInput(f"{bundle}: neither the folder of a run nor a whole tar archive of one: {error}") from error


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = path.stat().st_size, 0o644
    with path.open("rb") as content:
        archive.addfile(member, content)


@contextmanager
def _plain(file: BinaryIO) -> Iterator[BinaryIO]:
    packed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    if not packed:
        yield file
        return
    with gzip.GzipFile(fileobj=file, mode="rb") as plain:
        yield cast("BinaryIO", plain)


class _Bounded:
    """A stream that ends in an error beyond a number of bytes, before a bomb fills disk or memory."""

    def __init__(self, source: BinaryIO, most: int, bundle: Path) -> None:
        self._source, self._left, self._most, self._bundle = source, most, most, bundle

    def read(self, size: int = -1) -> bytes:
        """Return bytes. Raises BadInput."""
        data = self._source.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise BadInput(f"{self._bundle}: unpacks to more than {self._most >> 20} MiB")
        return data


def _unpack_one(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path, bundle: Path) -> None:
    place = PurePosixPath(member.name)
    if not member.name or place.is_absolute() or ".." in place.parts or "\0" in member.name:
        raise BadInput(f"{bundle}: {member.name!r} would be unpacked elsewhere")
    path = target / place
    if member.isdir():
        path.mkdir(parents=True, exist_ok=True)
        return
    content = archive.extractfile(member) if member.isreg() and not member.issparse() else None
    if content is None:
        raise BadInput(f"{bundle}: {member.name!r} is neither a file nor a folder")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with path.open("xb") as file:
            shutil.copyfileobj(content, file)
    except FileExistsError as error:
        raise BadInput(f"{bundle}: {member.name!r} is there twice") from error
