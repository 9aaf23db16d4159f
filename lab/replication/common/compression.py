"""Zstandard for the payload of a frame. Not imported by the mobility service, which has the standard library only."""

from __future__ import annotations

import zstandard

from lab.replication.changeset import Buffer, Corrupt

LEVEL = 1
SAMPLED_FROM = 256 << 10
SAMPLE, SAMPLE_EVERY = 4 << 10, 64 << 10
GAIN = 0.98
"""Random data are not worth a processor's time: what does not shrink in one of its 16 parts is sent as it is."""


class Zstd:
    """A codec for one thread."""

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(level=LEVEL)
        self._decompressor = zstandard.ZstdDecompressor()

    def compress(self, raw: Buffer) -> bytes | None:
        """Return ``raw`` compressed; None: it is large, and samples of it gain nothing."""
        if len(raw) >= SAMPLED_FROM and not self._promises(memoryview(raw)):
            return None
        return self._compressor.compress(raw)

    def _promises(self, raw: memoryview) -> bool:
        samples = b"".join(raw[at : at + SAMPLE] for at in range(0, len(raw), SAMPLE_EVERY))
        return len(self._compressor.compress(samples)) < len(samples) * GAIN

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
