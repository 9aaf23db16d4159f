"""What one block held when: spans of time with a known content, an unknown one, or a write under way. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from lab.oracle.device.trace import BlockWrite


@dataclass(frozen=True)
class Span:
    """From ``begin_ns`` to before ``end_ns`` the block held ``digest``; None: anything, for all that is known."""

    begin_ns: int
    end_ns: int
    digest: bytes | None


@dataclass(frozen=True)
class Bracket:
    """Two moments at which a device was read while nothing wrote to it (ns of the trace's clock)."""

    begin_ns: int
    end_ns: int


def timeline(writes: Iterable[BlockWrite], before: bytes, after: bytes, bracket: Bracket) -> list[Span]:
    """Return what a block held inside the bracket.

    Its content is known before the first write and after the last one. Between two writes it is not, because nobody
    read it then; while a write is under way it is the old content, the new one or a mixture.

    Args:
        writes: those that touch the block; they may overlap.
        before: its digest at the bracket's begin.
        after: its digest at the bracket's end.
        bracket: the time that is told about.
    """
    under_way = list(_joined(writes, bracket))
    if not under_way:
        return [Span(bracket.begin_ns, bracket.end_ns, before)]
    spans, at = [], bracket.begin_ns
    for number, (begin, end) in enumerate(under_way):
        spans.append(Span(at, begin, before if number == 0 else None))
        spans.append(Span(begin, end, None))
        at = end
    spans.append(Span(at, bracket.end_ns, after))
    return [span for span in spans if span.begin_ns < span.end_ns]


def _joined(writes: Iterable[BlockWrite], bracket: Bracket) -> Iterator[tuple[int, int]]:
    """Yield when at least one write was under way, in order, cut to the bracket."""
    begin = end = None
    for write in sorted(writes, key=lambda each: each.issued_ns):
        acked = bracket.end_ns if write.acked_ns is None else min(write.acked_ns, bracket.end_ns)
        issued = max(write.issued_ns, bracket.begin_ns)
        if acked <= bracket.begin_ns or issued >= bracket.end_ns:
            continue
        if begin is not None and end is not None and issued <= end:
            end = max(end, acked)
            continue
        if begin is not None and end is not None:
            yield begin, end
        begin, end = issued, acked
    if begin is not None and end is not None:
        yield begin, end
