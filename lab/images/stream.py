"""A disk image as a compressed stream, made once for each image and kept beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import zstandard

LEVEL = 3
CHUNK = 1 << 20


@dataclass(frozen=True)
class ImageStream:
    """``path`` holds the image in zstd's format with checksums; ``digest`` is its SHA-256, ``image_bytes`` unpacked."""

    path: Path
    digest: str
    image_bytes: int


def image_stream(disk: Path) -> ImageStream:
    """Return the stream of a raw image, made now when there is none. Callers keep others from making it meanwhile."""
    path, sum_file = disk.with_suffix(".zst"), disk.with_suffix(".zst.sha256")
    if not path.exists():
        made = disk.with_suffix(".zst.new")
        digest = _compress(disk, made)
        sum_file.write_text(f"{digest}\n", encoding="ascii")
        # Last, and atomic: a file under its final name is whole, and its digest is there.
        made.rename(path)
    return ImageStream(path, sum_file.read_text(encoding="ascii").strip(), disk.stat().st_size)


def _compress(disk: Path, target: Path) -> str:
    digest = hashlib.sha256()
    compressor = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True, write_content_size=True)
    with disk.open("rb") as source, target.open("wb") as sink:
        for piece in compressor.read_to_iter(source, size=disk.stat().st_size, read_size=CHUNK, write_size=CHUNK):
            digest.update(piece)
            sink.write(piece)
    target.chmod(0o644)
    return digest.hexdigest()
