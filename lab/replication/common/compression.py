"""Zstandard for the payload of a frame. Not imported by the mobility service, which has the standard library only."""

from __future__ import annotations

import zstandard

from lab.replication.changeset import Buffer, Corrupt

LEVEL = 1


class Zstd:
    """A codec for one thread."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    def compress(self, raw: Buffer) -> bytes:
        """Return ``raw`` compressed."""
        return self._compressor.compress(raw)

    def decompress(self, stored: Buffer, raw_length: int) -> bytes:
        """Return exactly ``raw_length`` bytes.

        Raises:
            Corrupt: this is not what was compressed, or claims another length.
        """
        try:
            # The library allocates what the frame claims, so the claim is checked first.
            if zstandard.frame_content_size(stored) != raw_length:
                raise Corrupt("a compressed frame claims another length")
            return self._decompressor.decompress(stored, max_output_size=raw_length)
        except zstandard.ZstdError as error:
            raise Corrupt(f"a compressed frame does not decompress: {error}") from error
