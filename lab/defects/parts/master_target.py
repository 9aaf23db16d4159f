"""Defects of the master target: applying, undoing, recovery points."""

from __future__ import annotations

from lab.defects.model import Defect, Edit, Part

_STREAM, _SERVER, _UNDO, _POINTS = (
    "master_target.stream",
    "master_target.server",
    "master_target.undo",
    "master_target.points",
)
_WRITE = "        head = self._write(document, devices)\n"
_RECORD = """        if self._points.any_before(sequence):
            self._keeper.make_room()
            self._undo.record(sequence, document, devices)
"""
_KEPT = """        import shutil
        kept = self._directory / "kept-by-the-defect"
"""
_NEWER = "newer = [sequence for sequence in reversed(self.sequences()) if sequence > point]"


def _defect(
    name: str, what: str, requirements: tuple[str, ...], *edits: tuple[str, str, str], on_disks: bool = False
) -> Defect:
    return Defect(name, Part.MASTER_TARGET, what, requirements, tuple(Edit(*edit) for edit in edits), on_disks=on_disks)


MASTER_TARGET: tuple[Defect, ...] = (
    _defect(
        "deltas-swapped",
        "every third document is applied after the one that follows it",
        ("LAB-WRITE-ORDER",),
        (
            _STREAM,
            _WRITE,
            f"""{_KEPT}        if sequence % 3 == 0:
            shutil.copyfile(document, kept)
            with document.open("rb") as source:
                head = DocumentReader(source).head
        else:
            head = self._write(document, devices)
            if kept.exists():
                self._write(kept, devices)
                kept.unlink()
""",
        ),
        on_disks=True,
    ),
    _defect(
        "delta-applied-again-later",
        "a document is applied a second time after the one that follows it",
        ("LAB-WRITE-ORDER",),
        (
            _STREAM,
            _WRITE,
            f"""{_KEPT}{_WRITE}        if kept.exists():
            self._write(kept, devices)
        shutil.copyfile(document, kept)
""",
        ),
        on_disks=True,
    ),
    _defect(
        "delta-applied-twice-at-once",
        "a document is applied two times in a row, which should change nothing",
        ("LAB-WRITE-ORDER",),
        (_STREAM, _WRITE, _WRITE + _WRITE),
        on_disks=True,
    ),
    _defect(
        "undo-not-recorded",
        "what is overwritten is not saved, so older points cannot be reached",
        ("V2S-MT-RETENTION", "LAB-POINT-IN-TIME"),
        (_STREAM, _RECORD, ""),
        on_disks=True,
    ),
    _defect(
        "undo-recorded-too-late",
        "what is overwritten is saved after it was overwritten",
        ("V2S-MT-RETENTION", "LAB-POINT-IN-TIME"),
        (_STREAM, _RECORD + _WRITE, _WRITE + _RECORD),
        on_disks=True,
    ),
    _defect(
        "roll-stops-too-early",
        "the last document is not undone",
        ("LAB-POINT-LABEL", "LAB-POINT-IN-TIME"),
        (_UNDO, _NEWER, _NEWER.replace("> point", "> point + 1")),
        on_disks=True,
    ),
    _defect(
        "roll-in-wrong-order",
        "documents are undone oldest first",
        ("LAB-POINT-IN-TIME", "LAB-WRITE-ORDER"),
        (_UNDO, _NEWER, _NEWER.replace("reversed(self.sequences())", "self.sequences()")),
        on_disks=True,
    ),
    _defect(
        "retention-not-pruned",
        "recovery points are kept for ever",
        ("V2S-MT-RETENTION", "V2A-POLICY-APPLIES"),
        (_STREAM, "        self._keeper.prune()\n", ""),
    ),
    _defect(
        "retention-halved",
        "recovery points go after half of the time that the policy says",
        ("V2S-MT-RETENTION", "V2A-POLICY-APPLIES"),
        ("retention", "<= retention.window_s * NS\n", "<= retention.window_s * NS // 2\n"),
    ),
    _defect(
        "commit-keeps-old-points",
        "after a commit the master target still has the other points",
        ("V2A-FO-COMMIT",),
        (_STREAM, "            self._points.remove([point for point in self._points.all() if point != kept])\n", ""),
    ),
    _defect(
        "zombie-writes-survive",
        "data of the old primary is applied to disks that were rolled to a point",
        ("LAB-ZOMBIE", "LAB-FENCE"),
        (_SERVER, "        if stream.frozen:\n", "        if False:\n"),
        (_STREAM, "if oldest is None or self.frozen or", "if oldest is None or"),
        (_STREAM, "        self.inbox.discard_waiting()\n", ""),
    ),
    _defect(
        "barrier-ignored",
        "documents are applied while the disks are being copied",
        ("LAB-TFO-ISOLATION", "LAB-POINT-IN-TIME"),
        (_STREAM, "self.frozen or self._barrier.held or", "self.frozen or"),
    ),
    _defect(
        "any-server-may-send",
        "any process server may send into a stream",
        ("LAB-MUTUAL-TLS", "V2S-MT-RECV", "H2S-AUTH-CERT"),
        (
            _SERVER,
            "request.allow(self._sender, name=stream.settings.process_server if stream else None)",
            "request.allow(self._sender)",
        ),
    ),
    _defect(
        "comparison-finds-nothing",
        "all chunks are called equal",
        ("LAB-RESYNC",),
        (_STREAM, "if ours.of(content) != digests", "if not ours.of(content) and digests"),
    ),
    _defect(
        "every-point-is-called-quiet",
        "crash-consistent points are called application-consistent",
        ("V2A-MVM-APP",),
        (_POINTS, "head.cut, head.point_kind, head.shared)", "head.cut, APPLICATION_CONSISTENT, head.shared)"),
    ),
    _defect(
        "shared-id-lost",
        "a point of a group does not say that it is shared",
        ("V2A-MVM-CRASH",),
        (_POINTS, "head.point_kind, head.shared)", "head.point_kind, None)"),
    ),
    _defect(
        "points-go-backwards",
        "a stream that is opened again begins with its first document",
        ("LAB-POINT-ORDER", "LAB-RECOVERY"),
        ("common.inbox", 'self.done = int((read_json(self._progress) or {}).get("done", 0))', "self.done = 0"),
    ),
)
