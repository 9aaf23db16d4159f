"""Merging the replication logs of one stream into page blobs, with a snapshot of every disk as a recovery point.

The storage is not trusted to keep what it acknowledged: Azurite forgets up to five seconds when it is killed. So

- a document is in a journal on this machine's disk (fsync) before its log is removed from the container, and stays
  there until a snapshot that has it was seen in the storage a settle time after it was made;
- every write names the ETag that the write before it gave, so a blob that has gone back in time refuses it;
- then the blobs become the newest snapshot that still exists and whose successors are all in the journal, and the
  journal is merged from there. Without any snapshot that is the empty blob and the first document.

Differences of page ranges are not asked for: Azurite answers that question wrongly (decision 0011).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from lab.replication.changeset import ChangeSetError
from lab.replication.common.compression import Zstd
from lab.replication.common.durable import JSON, read_json, sync_file, write_json
from lab.replication.common.inbox import Gap, Inbox
from lab.replication.common.ingest import verify_received
from lab.replication.document import DocumentReader
from lab.replication.master_target.points import Point
from lab.replication.retention import keep
from lab.replication.vault.pages import PageWrite, Span, page_writes, with_spans
from lab.replication.vault.points import MergeState, ReplicaPoint, restart_point
from lab.replication.vault.settings import StreamSettings
from lab.replication.vault.storage import Storage, WentBack

log = logging.getLogger(__name__)

Announce = Callable[[str, JSON], None]
"""Publishes an event of the stream: its kind and data."""


class Merger:
    """The journal, the blobs and the points of one stream; for one thread.

    Args:
        directory: where the journal and the state live.
        settings: the stream.
        storage: the account.
        announce: hears of points and of what cannot be repaired.
        settle_s: what the storage has acknowledged for so long, and still has, it will keep.
        pinned: the points on which machines run: they are not pruned.
    """

    def __init__(
        self,
        directory: Path,
        settings: StreamSettings,
        storage: Storage,
        announce: Announce,
        *,
        settle_s: float,
        pinned: Callable[[], frozenset[str]] = frozenset,
    ) -> None:
        self.settings = settings
        self._directory = directory
        self._storage = storage
        self._announce = announce
        self._settle_s = settle_s
        self._pinned = pinned
        self.journal = Inbox(directory / "journal", lambda: None)
        stored = read_json(directory / "merged.json")
        self.state = MergeState.from_json(stored) if stored else MergeState()
        self._etags = dict(self.state.etags or {})
        self._seen: dict[str, float] = {}

    def take(self) -> int:
        """Move logs from the container to the journal, in order; return how many. Raises StorageError."""
        stream, taken = self.settings.stream, 0
        try:
            waiting = self._storage.logs(stream)
            for sequence in waiting:
                if sequence > self.journal.received and not self._fetch(sequence):
                    break
                taken += 1
            if taken:
                self._storage.mark(stream, self.journal.received)
                for sequence in waiting[:taken]:
                    self._storage.forget(stream, sequence)
        except WentBack:
            log.warning("stream %s: the container is gone; made anew", stream)
            self._storage.open_stream(stream)
            self._storage.mark(stream, self.journal.received)
        return taken

    def merge_next(self) -> bool:
        """Merge one document of the journal, if there is one; return whether there was. Raises StorageError."""
        if self.state.etags is None:
            self._rewind("the blobs are new")
        sequence = self.state.merged + 1
        document = self.journal.document(sequence)
        if document is None:
            return False
        try:
            self._merge(sequence, document)
        except WentBack as error:
            self._rewind(str(error))
        return True

    def verify(self) -> bool:
        """Return whether the blobs are what was acknowledged; if not, go back. Raises StorageError."""
        if self.state.etags is None:
            return True
        changed = [disk for disk, blob in self.settings.blobs.items() if self._storage.etag(blob) != self._etags[disk]]
        present = self._present()
        missing = [each.id for each in self.state.points if not each.whole(present)]
        if changed or missing:
            self._rewind(f"disks {changed} or points {missing} are not what they were")
        return not (changed or missing)

    def settle(self) -> None:
        """Forget what of the journal the storage has been proved to keep. Raises StorageError."""
        now = time.monotonic()
        for each in self.state.points:
            self._seen.setdefault(each.id, now)
        old = [each for each in self.state.points if now - self._seen[each.id] >= self._settle_s]
        if not old or old[-1].sequence <= self.journal.done or not self.verify():
            return
        for sequence in range(self.journal.done + 1, old[-1].sequence + 1):
            self.journal.finish(sequence)

    def prune(self) -> None:
        """Remove points that the policy gives up, but never the one that the journal goes on from. Raises StorageError.

        What is removed is published first: nobody shall choose a point that is half gone.
        """
        kept = keep(self.state.points, time.time_ns(), self.settings.retention)
        staying = self._pinned() | {each.id for each in kept}
        going = [each for each in self.state.points if each.id not in staying and each.sequence < self.journal.done]
        self._remove(going)

    def forget_points(self, keep_id: str | None) -> None:
        """Remove all points but one (commit). Raises StorageError."""
        self._remove([each for each in self.state.points if each.id != keep_id])

    def _remove(self, going: Sequence[ReplicaPoint]) -> None:
        if not going:
            return
        self._save(self.state.without(going))
        self._announce("recovery-points-removed", {"recovery_points": [each.id for each in going]})
        for each in going:
            self._seen.pop(each.id, None)
            for disk, snapshot in each.snapshots.items():
                self._storage.delete_snapshot(self.settings.blobs[disk], snapshot)

    def _fetch(self, sequence: int) -> bool:
        """Put one log into the journal; return False when it is not there, out of order or damaged."""
        part = self.journal.part()
        try:
            if self.journal.known(sequence) or not self._storage.fetch(self.settings.stream, sequence, part):
                return False
            sync_file(part)
            verify_received(part, self.settings.stream, sequence)
            return self.journal.admit(part, sequence)
        except Gap:
            return False
        except ChangeSetError as error:
            # Once it is gone the process server sends it again, from its cache.
            log.warning("stream %s log %d is damaged: %s", self.settings.stream, sequence, error)
            self._storage.forget(self.settings.stream, sequence)
            return False
        finally:
            part.unlink(missing_ok=True)

    def _merge(self, sequence: int, document: Path) -> None:
        codec = Zstd()
        with document.open("rb") as source:
            reader = DocumentReader(source)
            for write in with_spans(page_writes(reader.frames(), codec)):
                self._write(self._filled(write) if isinstance(write, Span) else write)
        state = replace(self.state, merged=sequence, etags=dict(self._etags))
        point = Point.of(reader.head)
        if point is None:
            self._save(state)
            return
        self._save(state.with_point(ReplicaPoint(point, self._snapshot(point))))
        self._seen[point.id] = time.monotonic()
        self._announce("recovery-point", point.to_json())

    def _filled(self, span: Span) -> PageWrite:
        """Read what lies between the writes. A blob that goes back afterwards has another ETag when it is written."""
        return span.filled(self._storage.read(self.settings.blobs[span.disk], span.offset, span.length))

    def _write(self, write: PageWrite) -> None:
        blob = self.settings.blobs[write.disk]
        etag = self._etags[write.disk]
        if write.data is None:
            self._etags[write.disk] = self._storage.clear(blob, write.offset, write.length, etag)
        else:
            self._etags[write.disk] = self._storage.write(blob, write.offset, write.data, etag)

    def _snapshot(self, point: Point) -> dict[int, str]:
        metadata = {"recovery_point": point.id, "sequence": str(point.sequence)}
        return {
            disk: self._storage.snapshot(blob, self._etags[disk], metadata)
            for disk, blob in self.settings.blobs.items()
        }

    def _present(self) -> dict[int, frozenset[str]]:
        return {disk: self._storage.snapshots(blob) for disk, blob in self.settings.blobs.items()}

    def _rewind(self, reason: str) -> None:
        """Make the blobs a state that is known, from which the journal leads to the present one."""
        present = self._present()
        base = restart_point(self.state, present, self.journal.done)
        if base is None and self.journal.done:
            self._give_up(reason)
            return
        if self.state.etags is not None:
            log.warning(
                "stream %s goes back to document %d: %s", self.settings.stream, base.sequence if base else 0, reason
            )
        kept = tuple(p for p in self.state.points if base and p.sequence <= base.sequence and p.whole(present))
        if base is None:
            self._etags = {disk.index: self._storage.create(disk.blob, disk.size) for disk in self.settings.disks}
        else:
            blobs = self.settings.blobs
            self._etags = {disk: self._storage.restore(blobs[disk], name) for disk, name in base.snapshots.items()}
            self._drop_strangers(present, kept)
        lost = [p.id for p in self.state.points if base and p.sequence <= base.sequence and p not in kept]
        self._save(MergeState(base.sequence if base else 0, dict(self._etags), kept))
        if lost:
            self._announce("recovery-points-removed", {"recovery_points": lost})

    def _drop_strangers(self, present: dict[int, frozenset[str]], kept: Sequence[ReplicaPoint]) -> None:
        """Remove snapshots that are no point, or will be made again."""
        for disk, snapshots in present.items():
            for snapshot in snapshots - {each.snapshots[disk] for each in kept}:
                self._storage.delete_snapshot(self.settings.blobs[disk], snapshot)

    def _give_up(self, reason: str) -> None:
        """The storage has lost what it had kept beyond the settle time: only the source has the data now."""
        log.error("stream %s: %s, and no snapshot is left to go on from", self.settings.stream, reason)
        self._announce("resynchronisation-required", {"reason": f"the storage has lost the replica: {reason}"})
        lost = [each.id for each in self.state.points]
        self._etags = {disk.index: self._storage.create(disk.blob, disk.size) for disk in self.settings.disks}
        self._save(MergeState(self.journal.received, dict(self._etags), ()))
        self._announce("recovery-points-removed", {"recovery_points": lost})

    def _save(self, state: MergeState) -> None:
        write_json(self._directory / "merged.json", state.to_json())
        self.state = state
