"""What DRBD has told the kernel's log, as events. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator

from lab.stacks.protocol import Event

ARGUMENTS = ("journalctl", "--no-pager", "--quiet", "-k", "-o", "json", "--output-fields=MESSAGE", "--grep", "drbd")
_BEGAN = re.compile(r"Began resync as \w+ \(will sync (\d+) KB")
_DONE = re.compile(r"Resync done \(total (\d+) sec")
_NS_PER_US = 1000
KIB = 1024


def events(lines: Iterable[str], machine: str, stream: str) -> Iterator[Event]:
    """Yield begin and end of every resynchronisation; the first one is the initial replication.

    Args:
        lines: of ``journalctl -o json``.
        machine: the protected machine.
        stream: the resource.
    """
    ended = number = 0
    for line in lines:
        entry = json.loads(line)
        message = str(entry["MESSAGE"])
        began, done = _BEGAN.search(message), _DONE.search(message)
        if began is None and done is None:
            continue
        what = "resynchronisation" if ended else "initial-replication"
        kind = f"{what}-{'complete' if done else 'started'}"
        data = {"message": message} | ({"bytes": int(began[1]) * KIB} if began else {})
        number += 1
        ended += done is not None
        time_ns = int(entry["__REALTIME_TIMESTAMP"]) * _NS_PER_US
        yield Event(number, time_ns, kind, machine, stream, None, data)
