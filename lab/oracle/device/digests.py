"""A digest for each block of a device, from the lines of the native tool's ``digest``.

Lines: ``V 1 blocks`` begins, ``count digest`` says what the next blocks hold, ``Z blocks`` ends. A last block that is
short counts as if zeros followed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

WIDTH = 16
"""Bytes of a digest: BLAKE2b-128."""
_STRIDE = 4096


class DigestsDamaged(ValueError):
    """The lines are not all of a device's digests."""


@dataclass(frozen=True)
class DeviceDigests:
    """Digests of a device's blocks of 4096 bytes, one after the other: 4 KiB for each MiB of the device."""

    packed: bytes

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self.packed) // WIDTH

    def __getitem__(self, block: int) -> bytes:
        """Return the digest of a block."""
        if not 0 <= block < len(self):
            raise IndexError(block)
        return self.packed[WIDTH * block : WIDTH * (block + 1)]

    def differing(self, other: DeviceDigests) -> Iterator[int]:
        """Yield the blocks whose digests differ. Raises ValueError for devices of different sizes."""
        if len(self) != len(other):
            raise ValueError(f"a device of {len(self)} blocks is not compared with one of {len(other)}")
        for first in range(0, len(self), _STRIDE):
            span = slice(WIDTH * first, WIDTH * (first + _STRIDE))
            if self.packed[span] != other.packed[span]:
                last = min(first + _STRIDE, len(self))
                yield from (block for block in range(first, last) if self[block] != other[block])

    def replaced(self, block: int, digest: bytes) -> DeviceDigests:
        """Return the same device with another content in one block: what a negative control judges."""
        if len(digest) != WIDTH:
            raise ValueError(f"a digest has {WIDTH} bytes, not {len(digest)}")
        return DeviceDigests(self.packed[: WIDTH * block] + digest + self.packed[WIDTH * (block + 1) :])


def parse_digests(lines: Iterable[str]) -> DeviceDigests:
    """Read what the tool printed. Raises DigestsDamaged."""
    packed, announced, whole = bytearray(), -1, False
    for line in lines:
        try:
            kind, *words = line.split()
            if kind == "V":
                announced = int(words[1])
            elif kind == "Z":
                whole = int(words[0]) == announced == len(packed) // WIDTH
            else:
                packed += int(kind) * _digest(words[0])
        except (ValueError, IndexError) as error:
            raise DigestsDamaged(f"{line[:80]!r} is no line of digests: {error}") from error
    if not whole:
        raise DigestsDamaged(f"{len(packed) // WIDTH} blocks, {announced} were announced, or there is no end")
    return DeviceDigests(bytes(packed))


def _digest(word: str) -> bytes:
    digest = bytes.fromhex(word)
    if len(digest) != WIDTH:
        raise ValueError(f"a digest has {WIDTH} bytes")
    return digest
