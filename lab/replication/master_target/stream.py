"""One replicated machine's disks here: documents are applied in order, points are made, rolled to, forgotten."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.replication.changeset import Head
from lab.replication.common.backoff import Backoff
from lab.replication.common.compression import Zstd
from lab.replication.common.control import CommandFailed
from lab.replication.common.durable import JSON, read_json, write_json
from lab.replication.common.inbox import Inbox, Sealed
from lab.replication.common.outbox import Outbox
from lab.replication.digests import DIGEST_SIZE, ChunkDigests
from lab.replication.document import DocumentReader
from lab.replication.master_target.barrier import Barrier
from lab.replication.master_target.devices import Device, DeviceSet, OpenDevice, Resolver
from lab.replication.master_target.handover import needed_bytes, write_archive
from lab.replication.master_target.keeper import Keeper
from lab.replication.master_target.points import Point, PointStore
from lab.replication.master_target.room import Room
from lab.replication.master_target.settings import StreamSettings
from lab.replication.master_target.undo import UndoStore

log = logging.getLogger(__name__)

SPOOL = "spool"
STOP_S = 60.0
LOOK_S = 0.1


class ReplicaStream:
    """A stream that lives in ``directory`` and survives restarts there.

    What a document overwrites is saved only when there is an older point to go back to: copies of an initial
    replication write straight to the disks, those of a resynchronisation keep the points before it alive.
    """

    def __init__(
        self,
        directory: Path,
        settings: StreamSettings,
        resolve: Resolver,
        outbox: Outbox,
        open_device: OpenDevice = Device,
    ) -> None:
        self.settings = settings
        self._directory = directory
        self._resolve = resolve
        self._open_device = open_device
        self._outbox = outbox
        self._wake = threading.Event()
        self._stop = threading.Event()
        # Whoever holds this owns the devices, the undo log and the points.
        self._lock = threading.Lock()
        self._barrier = Barrier()
        self._passage = 0
        self._devices: DeviceSet | None = None
        self.inbox = Inbox(directory / SPOOL, self._wake.set)
        self._undo = UndoStore(directory / "undo")
        self._points = PointStore(directory / "points")
        self._keeper = Keeper(
            self._points,
            self._undo,
            self._lock,
            settings.retention,
            room=Room(directory),
            announce=self._announce_removal,
        )
        self._thread = threading.Thread(target=self._apply_all, name=f"apply-{settings.stream}", daemon=True)

    @property
    def frozen(self) -> bool:
        """Whether the disks were rolled back: nothing may be applied to them any more."""
        return self._rolled.exists()

    def start(self) -> None:
        """Begin to apply."""
        self._keeper.start()
        self._thread.start()

    def close(self) -> None:
        """Take in nothing more, stop after the current document and close the devices."""
        self.inbox.retire()
        self._stop.set()
        self._barrier.lift()
        self._wake.set()
        self._keeper.close()
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        with self._lock:
            self._release()

    def delete(self) -> None:
        """Close, and delete spool, undo log and points."""
        self.close()
        shutil.rmtree(self._directory, ignore_errors=True)

    def status(self) -> JSON:
        """Return the numbers that others wait for."""
        return {
            "spooled": self.inbox.received,
            "applied": self.inbox.done,
            "expected": self.inbox.received + 1,
            "points": len(self._points.all()),
            "frozen": self.frozen,
        }

    def hold(self, *, hold: bool) -> JSON:
        """Stop applying between two documents, or go on; when held, the devices are flushed."""
        if not hold:
            self._barrier.lift()
            return self.status()
        self._barrier.raise_()
        with self._lock:
            if self._devices is not None:
                self._devices.flush()
        return self.status()

    def roll(self, point_id: str, serials: dict[int, str]) -> JSON:
        """Turn the devices with these serials, the replica disks or clones of them, into a recovery point.

        Raises:
            CommandFailed: there is no such point, or these are not the stream's disks.
        """
        with self._lock:
            point = self._points.find(point_id)
            if point is None:
                raise CommandFailed("unknown-recovery-point", f"stream has no recovery point {point_id}")
            unknown = set(serials) - set(self.settings.sizes)
            if unknown:
                raise CommandFailed("unknown-disk", f"stream has no disks {sorted(unknown)}")
            real = bool(set(serials.values()) & set(self.settings.serials.values()))
            undone = self._roll_real(point, serials) if real else self._roll_devices(point, serials)
        return {"recovery_point": point.id, "sequence": point.sequence, "undone": undone}

    def hand_over_bytes(self) -> int:
        """Return how large a disk ``hand_over`` needs now."""
        with self._lock:
            return needed_bytes(self._directory)

    def hand_over(self, device: Path) -> JSON:
        """Write points and undo log to a device; the replica disks are closed, and may be unplugged.

        Raises:
            CommandFailed: documents wait to be applied, or it does not fit.
        """
        with self._lock:
            if self.inbox.waiting:
                raise CommandFailed("not-drained", f"{self.inbox.waiting} documents were not applied yet")
            self._release()
            return write_archive(self._directory, device)

    def forget_points(self, keep: str) -> JSON:
        """Drop every point but ``keep``, and what was stored to reach the older ones.

        Raises:
            CommandFailed: there is no such point.
        """
        with self._lock:
            kept = self._points.find(keep)
            if kept is None:
                raise CommandFailed("unknown-recovery-point", f"stream has no recovery point {keep}")
            self._points.remove([point for point in self._points.all() if point != kept])
            self._undo.drop_through(kept.sequence)
        return {"recovery_point": keep}

    @property
    def takes_straight(self) -> bool:
        """Whether copies may go to the disks as they come: there is no point to go back to, and nothing waits."""
        return not self._points.all() and not self.inbox.waiting

    def begin_passage(self) -> int:
        """Begin to write a document straight to the disks; those that were begun before write nothing more."""
        with self._lock:
            self._passage += 1
            return self._passage

    @contextmanager
    def passage(self, number: int) -> Iterator[DeviceSet]:
        """Yield the devices, for a part of a document. Raises Sealed: this passage may go on no more; BadDevice."""
        while True:
            with self._lock:
                ended = self._stop.is_set() or self.inbox.sealed or self.frozen
                if ended or number != self._passage or not self.takes_straight:
                    raise Sealed
                if not self._barrier.held:
                    yield self._open()
                    return
            self._stop.wait(LOOK_S)

    def end_passage(self, number: int, sequence: int) -> None:
        """Make the document durable, and note that it was applied. Raises Sealed, BadDevice."""
        with self.passage(number) as devices:
            devices.flush()
            self.inbox.pass_on(sequence)

    def compare(self, disk: int, chunk: int, first: int, digests: bytes) -> list[int]:
        """Return which chunks of ``chunk`` bytes, from number ``first`` on, do not have these digests.

        Raises:
            BadDevice: there is no such disk, or it has no such chunk.
        """
        ours, offsets = ChunkDigests(chunk), range(first * chunk, (first + len(digests) // DIGEST_SIZE) * chunk, chunk)
        differing = []
        with self._lock:
            # Who compares has given up what it sent before.
            self._passage += 1
            device, size = self._open()[disk], self.settings.sizes[disk]
            places = ((offset, min(chunk, size - offset)) for offset in offsets)
            for place, (_, content) in enumerate(device.read_each(places)):
                if ours.of(content) != digests[place * DIGEST_SIZE : (place + 1) * DIGEST_SIZE]:
                    differing.append(first + place)
        return differing

    @property
    def _rolled(self) -> Path:
        return self._directory / "rolled.json"

    def _open(self) -> DeviceSet:
        if self._devices is None:
            self._devices = DeviceSet.open(self.settings.wanted, self._resolve, self._open_device)
        return self._devices

    def _release(self) -> None:
        if self._devices is not None:
            self._devices.close()
            self._devices = None

    def _roll_devices(self, point: Point, serials: dict[int, str]) -> int:
        wanted = {index: (serial, self.settings.sizes[index]) for index, serial in serials.items()}
        devices = DeviceSet.open(wanted, self._resolve, self._open_device)
        try:
            return self._undo.roll_back(devices, point.sequence)
        finally:
            devices.close()

    def _roll_real(self, point: Point, serials: dict[int, str]) -> int:
        if serials != self.settings.serials:
            raise CommandFailed("incomplete-roll", "the replica disks can only be rolled all together")
        # From here on the stream is fenced, also if this machine crashes in the middle; the command comes again.
        write_json(self._rolled, point.to_json())
        self._release()
        undone = self._roll_devices(point, serials)
        self.inbox.discard_waiting()
        self._points.remove([newer for newer in self._points.all() if newer.sequence > point.sequence])
        self._undo.drop_after(point.sequence)
        return undone

    def _apply_all(self) -> None:
        backoff = Backoff(self._stop)
        while not self._stop.is_set():
            self._wake.clear()
            try:
                while self._apply_oldest():
                    backoff.reset()
            except Exception:  # a device that fails now may work again; the document stays in the spool
                log.exception("stream %s: applying failed", self.settings.stream)
                backoff.pause()
                continue
            self._wake.wait(self._barrier.pause)

    def _apply_oldest(self) -> bool:
        """Apply one document if there is one and it is allowed now; return whether it was."""
        with self._lock:
            oldest = self.inbox.oldest()
            if oldest is None or self.frozen or self._barrier.held or self._stop.is_set():
                return False
            self._apply(*oldest)
        return True

    def _apply(self, sequence: int, document: Path) -> None:
        devices = self._open()
        if self._points.any_before(sequence):
            self._keeper.make_room()
            self._undo.record(sequence, document, devices)
        head = self._write(document, devices)
        devices.flush()
        point = Point.of(head)
        if point is not None:
            self._points.add(point)
            self._outbox.post(
                "recovery-point", point.to_json(), machine=self.settings.machine, stream=self.settings.stream
            )
        self.inbox.finish(sequence)
        self._keeper.prune()

    @staticmethod
    def _write(document: Path, devices: DeviceSet) -> Head:
        codec = Zstd()
        with document.open("rb") as source:
            reader = DocumentReader(source)
            for frame in reader.frames():
                devices[frame.disk].write(frame.offset, frame.raw(codec))
        return reader.head

    def _announce_removal(self, points: Sequence[Point], reason: str | None) -> None:
        removed = {"recovery_points": [point.id for point in points], "reason": reason}
        settings = self.settings
        self._outbox.post("recovery-points-removed", removed, machine=settings.machine, stream=settings.stream)


def load_settings(directory: Path) -> StreamSettings | None:
    """Read what ``open-stream`` has stored in a stream's directory."""
    stored = read_json(directory / "stream.json")
    return StreamSettings.from_json(stored) if stored else None
