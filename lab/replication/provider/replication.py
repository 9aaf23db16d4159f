"""Replication of one machine from its host: a copy of a frozen moment, then a cut every interval (seed L101-102).

Two threads: the cutter makes a cut every interval and keeps its changes in ``.hrl`` files beside the disks; the sender
copies disks and sends what waits. While a log is sent, changes of the next cut go to another one.
"""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from lab.replication.changeset import Head
from lab.replication.common.control import CommandFailed
from lab.replication.common.durable import JSON
from lab.replication.common.outbox import Outbox
from lab.replication.mobility.capture import CapturedDisk, ChangeLogGap, Cut
from lab.replication.mobility.copier import Copier, Progress
from lab.replication.mobility.hrl import ChangesLost, HrlPlaces, HrlQueue, SpoolFull, cause_of
from lab.replication.mobility.keeper import Keeper, Label
from lab.replication.mobility.schedule import Schedule
from lab.replication.mobility.session import CHECKSUM, COPY, STEADY, SessionFile
from lab.replication.mobility.uplink import Interrupted, UploadRejected
from lab.replication.provider.capture import CheckpointCapture
from lab.replication.provider.order import Destination, HostSession
from lab.replication.provider.outlets import HostOutlet, Interruption
from lab.replication.provider.retry import UNIT_S, RetryPauses, is_recoverable
from lab.replication.provider.tracking import NotQuiet
from lab.waiting import Deadline, wait_until

log = logging.getLogger(__name__)

LOST = (ChangeLogGap, SpoolFull, ChangesLost, UploadRejected)
STOP_S = 60.0
IDLE_S = 5.0
PROGRESS_S = 5.0
ANNOUNCE_S = 30.0
OK = "ok"
HRL_SHARE = 0.5
"""A disk whose changes take more of its size than this is compared as a whole instead (domain 2.4)."""
OpenOutlet = Callable[[Interruption], HostOutlet]


class HostReplication:
    """Replicates in the stream of ``session``; ``directory`` is for what is not beside the disks."""

    def __init__(
        self,
        capture: CheckpointCapture,
        session: SessionFile[HostSession],
        directory: Path,
        open_outlet: OpenOutlet,
        outbox: Outbox,
        *,
        stop: threading.Event,
        retry_unit_s: float = UNIT_S,
    ) -> None:
        self._capture = capture
        self._session = session
        self._directory = directory
        self._outbox = outbox
        self._stop = stop
        self._again = threading.Event()
        self._wake = threading.Event()
        # Whoever holds this owns the capture, and decides what the next sequence is.
        self._lock = threading.RLock()
        self._pauses = RetryPauses(self._stop, retry_unit_s)
        self._progress_at = 0.0
        self._condition = ""
        self._disks: list[CapturedDisk] = []
        self._queue: HrlQueue | None = None
        order = session.value.order
        self._schedule = Schedule.starting(
            time.monotonic(), order.interval_s, order.application_interval_s, group=False
        )
        self._outlet = open_outlet(self._again.is_set)
        self._threads = [
            threading.Thread(target=self._cut_always, name=f"cutter-{order.stream}", daemon=True),
            threading.Thread(target=self._send_always, name=f"sender-{order.stream}", daemon=True),
        ]

    @property
    def stream(self) -> str:
        """The id of the stream."""
        return self._session.value.order.stream

    @property
    def session(self) -> HostSession:
        """What is remembered of it."""
        return self._session.value

    @property
    def outlet(self) -> HostOutlet:
        """Where the documents go."""
        return self._outlet

    def start(self) -> None:
        """Go on where the last run stopped."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop; what waits stays on disk."""
        self._stop.set()
        self._wake.set()
        self._outlet.abort()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(STOP_S)
        self._outlet.close()
        with self._lock:
            self._forgiving(self._capture.close)

    def delete(self) -> None:
        """Stop, and forget the stream with its checkpoints."""
        self.close()
        if self._queue is not None:
            self._queue.clear()
        self._forgiving(self._capture.end)
        self._outlet.delete()
        self._session.delete()
        shutil.rmtree(self._directory, ignore_errors=True)

    def remember_destination(self, destination: Destination) -> None:
        """Remember a destination that has changed in nothing but its signature."""
        self._session.update(order=replace(self._session.value.order, destination=destination))

    def resume(self) -> None:
        """Try again at once, also after a failure that was given up."""
        self._session.update(given_up="")
        self._pauses.reset()
        self._wake.set()

    def cut(self) -> JSON:
        """Make a recovery point now; return its id, sequence and times.

        Raises:
            CommandFailed: the disks are still being copied, or changes were lost.
        """
        with self._lock:
            if self._session.value.phase != STEADY:
                raise CommandFailed("not-replicating-yet", "the disks of this machine are still being copied")
            try:
                cut, sequence = self._cut_steady()
            except LOST as error:
                self._begin_again(str(error), cause_of(error))
                raise CommandFailed("resynchronisation-required", str(error)) from error
        point = f"{self.stream}-{sequence}"
        return {"recovery_point": point, "sequence": sequence, "begin_ns": cut.begin_ns, "end_ns": cut.end_ns}

    def resynchronise(self, reason: str = "requested") -> None:
        """Compare all disks with the replica and send what differs."""
        self._begin_again(reason)

    def drain(self, deadline: Deadline) -> int:
        """Wait until the other side has everything that was cut before now; return the number of its last document.

        Raises:
            CommandFailed: it did not happen in time.
        """
        with self._lock:
            last = self._session.value.next_sequence - 1
        try:
            wait_until(lambda: self._delivered(last), deadline, f"document {last} over there", every=0.1)
        except TimeoutError as error:
            raise CommandFailed("drain-timeout", str(error)) from error
        return last

    def _delivered(self, last: int) -> bool:
        oldest = self._queue.oldest() if self._queue is not None else None
        if oldest is not None and oldest.head.sequence <= last:
            return False
        return self._outlet.has(last)

    # Both threads

    def _opened_queue(self) -> HrlQueue:
        """Return the queue; what an earlier run has left is looked at once. Raises MachineMissing, ChangesLost."""
        with self._lock:
            if self._queue is None:
                self._disks = list(self._capture.disks())
                queue = hrl_queue(self._directory, self.stream, self._disks)
                queue.load()
                following = max(self._session.value.next_sequence, queue.last_sequence() + 1)
                self._session.update(next_sequence=following)
                self._queue = queue
            return self._queue

    @property
    def _keeper(self) -> Keeper:
        return Keeper(self._capture, self._disks, self.stream, self._session.value.order.machine)

    def _begin_again(self, reason: str, cause: str | None = None) -> None:
        with self._lock:
            if self._session.value.phase == STEADY:
                self._session.update(phase=CHECKSUM)
            self._again.set()
        log.warning("%s: resynchronisation: %s", self.stream, reason)
        kind = "resynchronisation-required" if self._session.value.completed else "health"
        self._post(kind, {"reason": reason, **({"cause": cause} if cause else {})})
        self._wake.set()

    def _post(self, kind: str, data: JSON) -> None:
        self._outbox.post(kind, data, machine=self._session.value.order.machine, stream=self.stream)

    def _forgiving(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:  # the machine or its hypervisor is gone: there is nothing left to clean up there
            log.exception("stream %s", self.stream)

    # The cutter

    def _cut_always(self) -> None:
        while self._schedule.wait_due(self._stop):
            application = self._schedule.application_due(time.monotonic())
            self._schedule.note(time.monotonic(), application=application)
            try:
                self._cut_once(application=application)
            except LOST as error:
                self._begin_again(str(error), cause_of(error))
            except Exception as error:  # the checkpoints keep the changes, the next cut takes them along
                log.exception("%s: no cut", self.stream)
                self._give_up_if_hopeless(error)

    def _cut_once(self, *, application: bool) -> None:
        with self._lock:
            if self._session.value.phase != STEADY or self._queue is None or self._session.value.given_up:
                return
            if not (application and self._cut_quiet()):
                self._cut_steady()

    def _cut_quiet(self) -> bool:
        """Make an application-consistent cut; return False, and say why, where nobody inside quiets applications."""
        try:
            cut = self._capture.cut(freeze=True)
        except NotQuiet as error:
            self._post("health", {"applications": str(error)})
            return False
        self._keep(cut, application=True)
        self._post("health", {"applications": "ok"})
        return True

    def _cut_steady(self) -> tuple[Cut, int]:
        self._opened_queue()
        cut = self._capture.cut()
        return cut, self._keep(cut)

    def _keep(self, cut: Cut, *, application: bool = False) -> int:
        queue = self._opened_queue()
        label = Label(self._session.value.next_sequence, point=True, application=application)
        last = self._keeper.store(queue, cut, label)
        self._session.update(next_sequence=last + 1)
        for disk, waiting in queue.bytes_by_disk().items():
            if waiting > HRL_SHARE * self._capture.present_sizes()[disk]:
                raise SpoolFull(f"the changes of disk {disk} take more than half of its size")
        self._schedule.note(time.monotonic())
        self._wake.set()
        return last

    # The sender

    def _send_always(self) -> None:
        while not self._stop.is_set():
            self._send_or_pause()

    def _send_or_pause(self) -> None:
        try:
            self._send_something()
            self._pauses.reset()
            if not self._session.value.given_up:
                self._say(OK)
        except Interrupted:
            log.info("stream %s: looking what is to be done", self.stream)
        except LOST as error:
            self._begin_again(str(error), cause_of(error))
            self._pauses.pause()
        except Exception as error:  # the changes wait; the retry class says whether trying again may help
            log.exception("%s: sending failed", self.stream)
            if not self._give_up_if_hopeless(error):
                self._say(f"to be tried again: {error}")
                self._pauses.pause()

    def _say(self, condition: str) -> None:
        """Tell the orchestrator how sending goes, when that has changed: a failure waits minutes to be tried again."""
        if condition != self._condition:
            self._condition = condition
            self._post("health", {"replication": condition})

    def _give_up_if_hopeless(self, error: Exception) -> bool:
        if is_recoverable(error):
            return False
        self._session.update(given_up=str(error))
        self._say(f"given up: {error}")
        return True

    def _send_something(self) -> None:
        self._wake.clear()
        if self._session.value.given_up:
            self._wake.wait(IDLE_S)
            return
        queue = self._opened_queue()
        if self._session.value.phase != STEADY:
            self._replicate_everything(queue)
            return
        with self._lock:
            # With the lock: a document counts only when its number is taken, or it would be given again after a crash.
            document = queue.oldest()
        if document is None:
            self._wake.wait(IDLE_S)
            return
        self._outlet.put(document.head.sequence, queue.body(document))
        queue.remove(document)

    def _replicate_everything(self, queue: HrlQueue) -> None:
        self._again.clear()
        self._wait_for_start()
        first = self._outlet.expected()
        blank = self._session.value.phase == COPY
        with self._lock:
            queue.clear()
            moment = self._capture.restart()
            # Should this attempt end early, the replica is blank no more: the next one has to compare.
            self._session.update(phase=CHECKSUM, next_sequence=first)
        copier = Copier(
            self._capture, self._disks, self._outlet, first=first, head_of=self._copy_head, progressed=self._progressed
        )
        if blank:
            copier.copy_everything()
        else:
            copier.copy_differences()
        self._outlet.wait_forwarded(copier.next_sequence - 1)
        self._complete(queue, moment, copier.next_sequence)

    def _wait_for_start(self) -> None:
        """An initial replication may have a time at which it begins (seed L101)."""
        while not self._session.value.completed:
            left = (self._session.value.order.start_at_ns - time.time_ns()) / 1e9
            if left <= 0:
                return
            if self._stop.wait(min(left, IDLE_S)) or self._again.is_set():
                raise Interrupted

    def _complete(self, queue: HrlQueue, moment: Cut, sequence: int) -> None:
        kind = "resynchronisation-complete" if self._session.value.completed else "initial-replication-complete"
        with self._lock:
            if self._again.is_set():
                raise Interrupted
            self._capture.release(moment)
            last = self._keeper.store(queue, self._capture.cut(), Label(sequence, point=True))
            self._post(kind, {"first_sequence": sequence})
            self._session.update(phase=STEADY, completed=True, next_sequence=last + 1)
        # Nobody should hear of a recovery point before hearing that the copy is complete.
        self._outbox.wait_delivered(Deadline.after(ANNOUNCE_S))

    def _copy_head(self, sequence: int) -> Head:
        return Head(self.stream, sequence, "copy", self._session.value.order.machine, self._keeper.described)

    def _progressed(self, progress: Progress) -> None:
        if time.monotonic() - self._progress_at >= PROGRESS_S:
            self._progress_at = time.monotonic()
            self._post("progress", {"phase": self._session.value.phase, **vars(progress)})


def hrl_queue(directory: Path, stream: str, disks: list[CapturedDisk]) -> HrlQueue:
    """Return the queue of a stream: each ``.hrl`` file is in the folder of its disk."""
    beside: Mapping[int, Path] = {disk.index: disk.device.parent for disk in disks}
    quota = int(HRL_SHARE * sum(disk.size for disk in disks))
    return HrlQueue(directory / "queue", quota, HrlPlaces(directory / "queue", beside, f"{stream}-"))
