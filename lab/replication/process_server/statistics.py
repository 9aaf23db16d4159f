"""Stage counters: when each document was received, optimised and sent, and how small it became."""

from __future__ import annotations

import collections
import json
import threading
from dataclasses import dataclass
from pathlib import Path

from lab.replication.common.durable import JSON

KEPT = 500
LOG_LIMIT = 64 << 20


@dataclass(frozen=True)
class DocumentRecord:
    """One forwarded document; times in nanoseconds of this machine's clock."""

    stream: str
    sequence: int
    received_ns: int
    optimised_ns: int
    sent_ns: int
    raw_bytes: int
    wire_bytes: int


class Statistics:
    """Records of forwarded documents: a JSON-lines file, the last ones and sums in memory."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._recent: collections.deque[DocumentRecord] = collections.deque(maxlen=KEPT)
        self._totals: dict[str, dict[str, int]] = {}

    def add(self, record: DocumentRecord) -> None:
        """Note that a document was forwarded."""
        with self._lock:
            self._recent.append(record)
            total = self._totals.setdefault(record.stream, {"documents": 0, "raw_bytes": 0, "wire_bytes": 0})
            total["documents"] += 1
            total["raw_bytes"] += record.raw_bytes
            total["wire_bytes"] += record.wire_bytes
            self._append(record)

    def to_json(self) -> JSON:
        """Return ``{totals: {stream: {documents, raw_bytes, wire_bytes}}, recent: [record...]}`` since the start."""
        with self._lock:
            totals = {stream: dict(total) for stream, total in self._totals.items()}
            return {"totals": totals, "recent": [vars(record) for record in self._recent]}

    def _append(self, record: DocumentRecord) -> None:
        if self._path.exists() and self._path.stat().st_size > LOG_LIMIT:
            self._path.replace(self._path.with_suffix(".old"))
        with self._path.open("a") as file:
            file.write(json.dumps(vars(record)) + "\n")
