"""Streams and documents of one small disk, for tests of what a master target does with them."""

from __future__ import annotations

import io

from lab.replication import changeset as cs
from lab.replication.document import DocumentWriter
from lab.replication.master_target.settings import StreamSettings

STREAM, SIZE, BLOCK = "s-1", 1 << 20, 4096


def settings():
    disk = {"index": 0, "name": "vda", "size": SIZE, "serial": "replica"}
    return StreamSettings.from_json(
        {"stream": STREAM, "machine": "app1", "data_port": 1, "disks": [disk], "retention_s": 60, "process_server": "h"}
    )


def document(sequence, *writes, kind="copy"):
    sink = io.BytesIO()
    cut, point = (cs.CutTime(1, 1, "then"), f"p-{sequence}") if kind == "delta" else (None, None)
    writer = DocumentWriter(sink, cs.Head(STREAM, sequence, kind, "app1", (cs.Disk(0, "vda", SIZE),), cut, point))
    for offset, data in writes:
        writer.add(cs.data_frame(0, offset, data))
    writer.end()
    return sink.getvalue()
