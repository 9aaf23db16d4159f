"""Finding what is not zero, without looking at single bytes in Python."""

from __future__ import annotations

from collections.abc import Iterator

from lab.replication.changeset import MAX_PAYLOAD, Buffer

ZERO_BLOCK = 64 << 10
_ZEROS = bytes(ZERO_BLOCK)


def is_zero(buffer: Buffer) -> bool:
    """Return whether every byte of ``buffer`` is zero."""
    view = memoryview(buffer)
    # Bytes.startswith is a memcmp without a copy; comparing memoryviews goes byte by byte.
    return all(_ZEROS.startswith(view[at : at + ZERO_BLOCK]) for at in range(0, len(view), ZERO_BLOCK))


def iter_nonzero_extents(buffer: Buffer, offset: int) -> Iterator[tuple[int, memoryview]]:
    """Yield what is not zero in ``buffer``, in blocks of 64 KiB merged to extents of at most 1 MiB.

    Args:
        buffer: the content.
        offset: where it begins on the disk; the offsets that are yielded count from the disk's start.
    """
    view = memoryview(buffer)
    start: int | None = None
    for block in range(0, len(view), ZERO_BLOCK):
        zero = is_zero(view[block : block + ZERO_BLOCK])
        if start is not None and (zero or block - start >= MAX_PAYLOAD):
            yield offset + start, view[start:block]
            start = None
        if start is None and not zero:
            start = block
    if start is not None:
        yield offset + start, view[start:]
