"""Which bytes of a disk were seen already, as a sorted list of ranges that do not touch."""

from __future__ import annotations

from bisect import bisect_left, bisect_right


class Coverage:
    """Ranges ``[start, end)`` of bytes."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> list[tuple[int, int]]:
        """Add a range, and return those parts of it that were new, in order."""
        if start >= end:
            return []
        # All ranges that overlap or touch the new one.
        first = bisect_left(self._ends, start)
        last = bisect_right(self._starts, end)
        new, at = [], start
        for known_start, known_end in zip(self._starts[first:last], self._ends[first:last], strict=True):
            if at < known_start:
                new.append((at, known_start))
            at = max(at, known_end)
        if at < end:
            new.append((at, end))
        merged_start = min([start, *self._starts[first : first + 1]]) if first < last else start
        merged_end = max([end, *self._ends[last - 1 : last]]) if first < last else end
        self._starts[first:last] = [merged_start]
        self._ends[first:last] = [merged_end]
        return new
