"""Defects of the mobility service: what is captured, kept, labelled and sent."""

from __future__ import annotations

from lab.defects.model import Defect, Edit, Part

_KEEPER, _RECORD, _REPLICATOR = "mobility.keeper", "mobility.record", "mobility.replicator"
_STORE = "last = queue.store(head, self._changes(cut), list(self.disks)"
_YIELD = "                yield disk.index, offset, data\n"
_DRAIN = f"            for offset, data in self.capture.drain(cut, disk):\n{_YIELD}"
_SEND = """        self._uplink.put(document.head.sequence, queue.body(document))
        queue.remove(document)
"""


def _defect(
    name: str, what: str, requirements: tuple[str, ...], *edits: tuple[str, str, str], on_disks: bool = False
) -> Defect:
    return Defect(name, Part.MOBILITY, what, requirements, tuple(Edit(*edit) for edit in edits), on_disks=on_disks)


MOBILITY: tuple[Defect, ...] = (
    _defect(
        "delta-dropped",
        "the changes of every third document are not sent",
        ("LAB-WRITE-ORDER", "V2S-DELTA"),
        (
            _KEEPER,
            _STORE,
            _STORE.replace("self._changes(cut)", "iter(()) if label.sequence % 3 == 0 else self._changes(cut)"),
        ),
        on_disks=True,
    ),
    _defect(
        "disk-skipped",
        "only the first disk's changes are sent",
        ("LAB-WRITE-ORDER", "LAB-POINT-IN-TIME", "V2S-DELTA"),
        (
            _KEEPER,
            "from_iterable(of(disk) for disk in self.disks)",
            "from_iterable(of(disk) for disk in self.disks[:1])",
        ),
        on_disks=True,
    ),
    _defect(
        "block-torn",
        "half of every changed sector is sent",
        ("LAB-WRITE-ORDER",),
        (_KEEPER, _YIELD, _YIELD.replace("data\n", "data[: len(data) // 2]\n")),
        on_disks=True,
    ),
    _defect(
        "zeros-skipped",
        "a place that was overwritten with zeros is not sent",
        ("LAB-WRITE-ORDER", "V2S-DELTA"),
        (_KEEPER, _YIELD, f"                if any(data):\n    {_YIELD}"),
        on_disks=True,
    ),
    _defect(
        "write-after-cut-leaks",
        "changed places are sent as they are now, not as they were at the cut",
        ("LAB-WRITE-ORDER", "LAB-POINT-IN-TIME"),
        (
            _KEEPER,
            _DRAIN,
            """            import os
            reader = self.capture.read_device(disk)
            for offset, data in self.capture.drain(cut, disk):
                yield disk.index, offset, os.pread(reader, len(data), offset)
            os.close(reader)
""",
        ),
        on_disks=True,
    ),
    _defect(
        "delta-is-a-full-copy",
        "every delta has the whole disks",
        ("V2S-DELTA", "LAB-THROUGHPUT"),
        (
            _KEEPER,
            _DRAIN,
            """            import os
            reader = self.capture.read_device(disk)
            for _ in self.capture.drain(cut, disk):
                pass
            for offset in range(0, disk.size, 1 << 16):
                yield disk.index, offset, os.pread(reader, min(1 << 16, disk.size - offset), offset)
            os.close(reader)
""",
        ),
    ),
    _defect(
        "frames-reversed",
        "the changes of a cut are sent in reverse order: they do not overlap, so it should change nothing",
        ("LAB-WRITE-ORDER",),
        (_KEEPER, _DRAIN, f"            for offset, data in reversed([*self.capture.drain(cut, disk)]):\n{_YIELD}"),
        on_disks=True,
    ),
    _defect(
        "point-label-early",
        "recovery points say that they are three seconds older than they are",
        ("LAB-POINT-LABEL",),
        (
            _KEEPER,
            "cut=CutTime(cut.begin_ns, cut.end_ns,",
            "cut=CutTime(cut.begin_ns - 3_000_000_000, cut.end_ns - 3_000_000_000,",
        ),
    ),
    _defect(
        "copy-reported-too-early",
        "the initial replication is reported complete before the master target has it",
        ("V2A-IR-COPY",),
        (_REPLICATOR, "        self._uplink.wait_forwarded(copier.next_sequence - 1)\n", ""),
    ),
    _defect(
        "delta-before-copy-ended",
        "changes made during the initial copy are sent as deltas before it is complete",
        ("V2A-DELTA-AFTER-IR", "LAB-WRITE-ORDER"),
        (
            _REPLICATOR,
            "            if self._session.value.phase != STEADY:\n                self._record",
            "            if self._session.value.phase == 'never':\n                self._record",
        ),
    ),
    _defect(
        "copy-misses-a-block",
        "the initial copy leaves out the last piece of every disk",
        ("V2A-IR-COPY",),
        (
            "mobility.copier",
            "for offset, content in self._read(disk, None, READ_SIZE):",
            "for offset, content in self._read(disk, range(0, disk.size, READ_SIZE)[:-1], READ_SIZE):",
        ),
        on_disks=True,
    ),
    _defect(
        "hrl-not-kept",
        "the file of changes is deleted before the process server has it",
        ("V2A-HRL", "LAB-RECOVERY"),
        (
            _REPLICATOR,
            _SEND,
            """        from lab.replication.common.link import Body
        body = queue.body(document)
        content = b"".join(bytes(part) for part in body.parts())
        queue.remove(document)
        self._uplink.put(document.head.sequence, Body(lambda: [content], len(content)))
""",
        ),
    ),
    _defect(
        "stale-record-after-reboot",
        "after a restart the old record of changes is believed",
        ("LAB-RECOVERY", "LAB-RESYNC"),
        (
            _RECORD,
            "        if self._capture.generation() != self._session.value.generation:\n",
            "        if False:\n",
        ),
    ),
    _defect(
        "spool-has-no-bound",
        "changes that wait may fill the machine's disk",
        ("LAB-RECOVERY",),
        ("mobility.hrl", "        if self._room < 0:\n", "        if False:\n"),
    ),
    _defect(
        "resynchronisation-misses-a-chunk",
        "the last chunk that differs is not sent",
        ("LAB-RESYNC",),
        (
            "mobility.copier",
            "self._read(disk, self._differing(disk), CHUNK)",
            "self._read(disk, self._differing(disk)[:-1], CHUNK)",
        ),
    ),
    _defect(
        "resynchronisation-sends-everything",
        "all chunks are sent, also those that are equal",
        ("LAB-RESYNC",),
        (
            "mobility.copier",
            "self._read(disk, self._differing(disk), CHUNK)",
            "self._read(disk, [*range(0, disk.size, CHUNK)], CHUNK)",
        ),
    ),
    _defect(
        "record-of-any-boot-believed",
        "whatever record of an orderly end is found is believed, that of an older boot too",
        ("LAB-RECOVERY", "LAB-RESYNC"),
        ("mobility.orderly_end", "ended == OrderlyEnd(before.boot, before.areas)", "ended is not None"),
    ),
    _defect(
        "log-written-over-believed",
        "a log that the new boot writes to is taken for what the last one left",
        ("LAB-RECOVERY", "LAB-RESYNC"),
        ("mobility.orderly_end", " and moved and ", " and "),
    ),
    _defect(
        "every-restart-breaks-the-record",
        "an orderly restart costs a resynchronisation",
        ("LAB-RECOVERY",),
        ("mobility.orderly_end", "    if title != TITLE or not boot", "    if title == TITLE or not boot"),
    ),
    _defect(
        "guessed-order-called-an-instant",
        "a cut of which the order of writes was guessed makes a recovery point",
        ("LAB-POINT-IN-TIME",),
        ("mobility.log_contents", "            self._guessed = self._guessed or not known\n", ""),
    ),
)
