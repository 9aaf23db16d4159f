"""Which blocks of a device were written when, from the block layer's own events in the kernel's trace (text form).

``block_rq_issue`` stands just before the device is told, ``block_rq_complete`` just after it has answered. Both errors
widen the time in which a write may have landed: they cost resolution, never a false alarm. Standard formats of Linux
(include/trace/events/block.h); times in microseconds of the trace clock, which has to be ``mono``.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

BLOCK_SECTORS = 8
_ROUNDING_NS = 1000
_EVENT = re.compile(
    r" (?P<seconds>\d+)\.(?P<micros>\d{6}): block_rq_(?P<what>issue|complete): "
    r"(?P<device>\d+,\d+) (?P<operation>[A-Z]+) (?:\d+ )?\(.*?\) (?P<sector>\d+) \+ (?P<sectors>\d+) "
)
_ENTRIES = re.compile(r"# entries-in-buffer/entries-written: (?P<kept>\d+)/(?P<written>\d+)")


class TraceNotWhole(ValueError):
    """Events are missing, so nothing can be said about what was written."""


@dataclass(frozen=True)
class BlockWrite:
    """One request to a device: blocks ``first`` to ``last``, issued and answered (ns of the monotonic clock).

    ``acked_ns`` None: it was under way at the end. Only a part of the first and the last block may be written.
    """

    first: int
    last: int
    issued_ns: int
    acked_ns: int | None


@dataclass(frozen=True)
class _Open:
    sectors: int
    issued_ns: int


def read_trace(lines: Iterable[str], begun_ns: int) -> dict[str, list[BlockWrite]]:
    """Return the writes of each device ("major,minor"), everything that is not a read.

    Args:
        lines: the text of ``trace``, header and all.
        begun_ns: when the trace began; requests of which only the end is in it count from then.

    Raises:
        TraceNotWhole: the header is missing, or says that the buffer was too small.
    """
    writes: dict[str, list[BlockWrite]] = defaultdict(list)
    under_way: dict[tuple[str, int], list[_Open]] = defaultdict(list)
    counted = False
    for line in lines:
        header = _ENTRIES.match(line)
        if header is not None:
            counted = header["kept"] == header["written"]
        event = _EVENT.search(line)
        if event is None or "R" in event["operation"] or event["sectors"] == "0":
            continue
        at = int(event["seconds"]) * 1_000_000_000 + int(event["micros"]) * 1000
        place = (event["device"], int(event["sector"]))
        if event["what"] == "issue":
            under_way[place].append(_Open(int(event["sectors"]), at - _ROUNDING_NS))
        else:
            known = under_way[place].pop(0) if under_way[place] else _Open(int(event["sectors"]), begun_ns)
            writes[place[0]].append(_write(place[1], known, at + _ROUNDING_NS))
    if not counted:
        raise TraceNotWhole("the trace has no header, or its buffer was too small for all events")
    for (device, sector), still in under_way.items():
        writes[device].extend(_write(sector, each, None) for each in still)
    return dict(writes)


def _write(sector: int, request: _Open, acked_ns: int | None) -> BlockWrite:
    last = (sector + request.sectors - 1) // BLOCK_SECTORS
    return BlockWrite(sector // BLOCK_SECTORS, last, request.issued_ns, acked_ns)
