"""What DRBD has told the kernel's log, as events. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lab.stacks.protocol import Event

FIELDS = ("MESSAGE", "_SOURCE_MONOTONIC_TIMESTAMP")
"""The times of arrival come with every answer; the kernel's own has to be asked for."""
ARGUMENTS = (
    "journalctl", "--no-pager", "--quiet", "-k", "-o", "json", f"--output-fields={','.join(FIELDS)}", "--grep", "drbd",
)  # fmt: skip
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
        yield Event(number, _said_ns(entry), kind, machine, stream, None, data)


def _said_ns(entry: Mapping[str, Any]) -> int:
    """Return when the kernel said it: on a busy machine the journal takes a message many seconds later."""
    arrived = int(entry["__MONOTONIC_TIMESTAMP"])
    late = arrived - int(entry.get("_SOURCE_MONOTONIC_TIMESTAMP", arrived))
    return (int(entry["__REALTIME_TIMESTAMP"]) - late) * _NS_PER_US
