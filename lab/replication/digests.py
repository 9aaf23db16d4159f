"""The digests by which two sides compare a disk chunk by chunk: BLAKE2b with 32 bytes (RFC 7693).

A machine without acceleration hashes 110 MB/s of it, and 61 MB/s of SHA-256. Zeros, most of many disks, are not hashed.
"""

from __future__ import annotations

import hashlib

from lab.replication.changeset import Buffer
from lab.replication.extents import is_zero

DIGEST_SIZE = 32


class ChunkDigests:
    """Digests of chunks of ``chunk`` bytes; the last one of a disk may be shorter."""

    def __init__(self, chunk: int) -> None:
        self._chunk = chunk
        self._zero = _digest(bytes(chunk))

    def of(self, content: Buffer) -> bytes:
        """Return the digest of one chunk, ``DIGEST_SIZE`` bytes."""
        if len(content) == self._chunk and is_zero(content):
            return self._zero
        return _digest(content)


def _digest(content: Buffer) -> bytes:
    return hashlib.blake2b(content, digest_size=DIGEST_SIZE).digest()
