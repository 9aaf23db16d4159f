"""Replication of this machine in one stream: copy, then cuts for ever, and again from the start if one was missed.

Two threads: the cutter makes a cut every interval, so that no change log overflows, whatever the network does; the
sender copies disks and sends what waits. While disks are copied, cuts go to a second queue; its documents are sent
after the copy, and only the last of them, made after everything was copied, carries a recovery point.
"""

from __future__ import annotations

import logging
import shutil
import ssl
import threading
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from lab.replication.changeset import Head
from lab.replication.common.control import CommandFailed
from lab.replication.common.durable import JSON
from lab.replication.common.outbox import Outbox
from lab.replication.common.service import BOOT_ID
from lab.replication.mobility.capture import ChangeLogGap, Cut, LoggingCapture
from lab.replication.mobility.copier import Copier, Progress
from lab.replication.mobility.group.member import Meeting
from lab.replication.mobility.growth import DISK_RESIZED, Growth
from lab.replication.mobility.hooks import FOLDER, quiet
from lab.replication.mobility.hrl import ChangesLost, HrlQueue, SpoolFull, cause_of
from lab.replication.mobility.keeper import Keeper, Label
from lab.replication.mobility.schedule import Schedule
from lab.replication.mobility.session import CHECKSUM, COPY, STEADY, Session, SessionFile
from lab.replication.mobility.uplink import Interrupted, Uplink, UploadRejected
from lab.waiting import Deadline

log = logging.getLogger(__name__)

STOP_S = 60.0
PROGRESS_S = 5.0
IDLE_S = 5.0
CUT_TRIES = 5
RETRY_S = 2.0
FULL_ENOUGH = 0.5
"""A log that is so full is cut before its time: what is written while it is read out needs room in the other one."""
ANNOUNCE_S = 30.0
FORCED_SHUTDOWN, RESTARTED = "forced-shutdown", "machine-restarted"
LOST = (ChangeLogGap, SpoolFull, ChangesLost, UploadRejected)


class Replicator:
    """Replicates in the stream of ``session``; changes wait under ``spool`` and may take ``quota`` bytes."""

    def __init__(
        self,
        capture: LoggingCapture,
        session: SessionFile[Session],
        *,
        machine: str,
        spool: Path,
        quota: int,
        context: ssl.SSLContext,
        outbox: Outbox,
        hooks: Path = FOLDER,
    ) -> None:
        order = session.value.order
        self._hooks = hooks
        self._schedule = Schedule.starting(
            time.monotonic(), order.interval_s, order.application_interval_s, group=order.group is not None
        )
        self._capture = capture
        self._session = session
        self._machine = machine
        self._outbox = outbox
        self._stop = threading.Event()
        self._again = threading.Event()
        self._wake = threading.Event()
        # Whoever holds this owns the capture, and decides what the next sequence is.
        self._lock = threading.RLock()
        self._recording = False
        self._progress_at = 0.0
        self._directory = spool / order.stream
        self._queue = HrlQueue(self._directory, quota)
        self._queued = HrlQueue(self._directory / "queued", quota)
        self._uplink = Uplink(
            order.process_server,
            context,
            order.stream,
            self._stop,
            interrupted=self._again.is_set,
            noted=lambda problem: self._post("health", {"process_server": problem or "ok"}),
        )
        self._growth = Growth(order.sizes)
        self._take_disks()
        self._threads = [
            threading.Thread(target=self._cut_always, name="cutter", daemon=True),
            threading.Thread(target=self._send_always, name="sender", daemon=True),
        ]

    @property
    def stream(self) -> str:
        """The id of the stream."""
        return self._session.value.order.stream

    def start(self) -> None:
        """Go on where the last run stopped."""
        stopped = self._session.value.stopped
        self._session.update(stopped=False)
        if self._session.value.phase == STEADY:
            try:
                self._take_up(stopped=stopped)
            except LOST as error:
                self._begin_again(str(error), cause_of(error))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop; what waits stays on disk."""
        self._stop.set()
        self._wake.set()
        self._uplink.abort()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(STOP_S)
        self._uplink.close()
        self._session.update(stopped=True)

    def delete(self) -> None:
        """Stop, and forget the stream."""
        self.close()
        self._session.delete()
        shutil.rmtree(self._directory, ignore_errors=True)

    def cut(self) -> JSON:
        """Make a recovery point now; return its id, sequence and times.

        Raises:
            CommandFailed: the disks are still being copied, or changes were lost.
        """
        self._require_steady()
        try:
            cut, sequence = self._cut_to_a_point()
        except LOST as error:
            self._begin_again(str(error), cause_of(error))
            raise CommandFailed("resynchronisation-required", str(error)) from error
        point = f"{self.stream}-{sequence}"
        return {"recovery_point": point, "sequence": sequence, "begin_ns": cut.begin_ns, "end_ns": cut.end_ns}

    def shared_cut(self, meeting: Meeting, *, application: bool) -> None:
        """Cut together with other machines, and keep the changes with the instant that was agreed on.

        Raises:
            CommandFailed: the disks are still being copied, changes were lost, or applications are not quiet.
            Abandoned: the others did not come.
        """
        self._require_steady()
        try:
            with self._lock:
                with self._quiet(application=application):
                    cut = self._capture.cut(meeting, freeze=application)
                self._keep_steady(cut, shared=meeting.agree(cut), application=application)
        except LOST as error:
            self._begin_again(str(error), cause_of(error))
            raise CommandFailed("resynchronisation-required", str(error)) from error

    def _require_steady(self) -> None:
        # Who hears that the copy is complete may ask at once: the lock is held from that word to the new phase.
        with self._lock:
            if self._session.value.phase != STEADY:
                raise CommandFailed("not-replicating-yet", "the disks of this machine are still being copied")

    def _cut_to_a_point(self) -> tuple[Cut, int]:
        for _ in range(CUT_TRIES):
            with self._lock:
                cut, sequence = self._cut_steady()
                if self._capture.is_instant(cut):
                    return cut, sequence
        raise CommandFailed("no-instant", f"none of {CUT_TRIES} cuts was certain: the disks are written too fast")

    def resynchronise(self, reason: str = "requested") -> None:
        """Compare all disks with the replica and send what differs."""
        self._begin_again(reason)

    def _take_disks(self) -> None:
        order = self._session.value.order
        self._disks = [disk for disk in self._capture.disks() if order.disks is None or disk.index in order.disks]
        self._keeper = Keeper(self._capture, self._disks, order.stream, self._machine)

    def _take_up(self, *, stopped: bool) -> None:
        self._queue.load()
        self._queued.clear()
        if self._capture.generation() != self._session.value.generation:
            how, cause = ("was restarted", RESTARTED) if stopped else ("stopped without notice", FORCED_SHUTDOWN)
            raise ChangeLogGap("all disks", f"the machine {how}, which broke the record of changes", cause)
        # The spool knows about cuts that were stored just before a crash.
        following = max(self._session.value.next_sequence, self._queue.last_sequence() + 1)
        self._session.update(next_sequence=following)
        self._recording = True

    def _begin_again(self, reason: str, cause: str | None = None) -> None:
        with self._lock:
            self._recording = False
            if self._session.value.phase == STEADY:
                self._session.update(phase=CHECKSUM)
            self._again.set()
        log.warning("resynchronisation: %s", reason)
        # The initial replication only begins again; there is nothing yet that could be resynchronised.
        kind = "resynchronisation-required" if self._session.value.completed else "health"
        self._post(kind, {"reason": reason, **({"cause": cause} if cause else {})})
        self._wake.set()

    def _post(self, kind: str, data: JSON) -> None:
        self._outbox.post(kind, data, machine=self._machine, stream=self.stream)

    # The cutter

    def _cut_always(self) -> None:
        while self._schedule.wait_due(self._stop, self._logs_fill_up):
            application = self._schedule.application_due(time.monotonic())
            self._schedule.note(time.monotonic(), application=application)
            try:
                self._cut_once(application=application)
            except LOST as error:
                self._begin_again(str(error), cause_of(error))
            except Exception:  # the log keeps the changes, the next cut takes them along
                log.exception("no cut")

    def _logs_fill_up(self) -> bool:
        """Whether a log could run out of space before the interval is over."""
        with self._lock:
            if not self._recording:
                return False
            try:
                return self._capture.fullness() >= FULL_ENOUGH
            except Exception:  # whatever it is, the cut at the end of the interval says so
                log.exception("nobody knows how full the logs are")
                return False

    def _cut_once(self, *, application: bool) -> None:
        with self._lock:
            self._look_for_growth()
            if not self._recording:
                return
            if self._session.value.phase != STEADY:
                following = self._queued.last_sequence() + 1
                self._keeper.store(self._queued, self._capture.cut(), Label(following))
            elif not (application and self._cut_quiet()):
                self._cut_steady()

    def _look_for_growth(self) -> None:
        """Begin again when a disk has outgrown its replica: nothing of it is sent before the replica is as large."""
        grown = self._growth.news(self._capture.present_sizes())
        if grown:
            self._begin_again(str(grown), DISK_RESIZED)
            self._post("disks-grown", grown.to_json())

    def _cut_quiet(self) -> bool:
        """Make an application-consistent cut; return False where applications do not keep quiet."""
        try:
            with self._quiet(application=True):
                cut = self._capture.cut(freeze=True)
        except CommandFailed as error:
            self._post("health", {"applications": str(error)})
            return False
        self._keep_steady(cut, application=True)
        self._post("health", {"applications": "ok"})
        return True

    def _quiet(self, *, application: bool) -> AbstractContextManager[None]:
        return quiet(self._hooks) if application else nullcontext()

    def _cut_steady(self) -> tuple[Cut, int]:
        with self._lock:
            cut = self._capture.cut()
            return cut, self._keep_steady(cut)

    def _keep_steady(self, cut: Cut, *, shared: str | None = None, application: bool = False) -> int:
        label = Label(self._session.value.next_sequence, point=True, shared=shared, application=application)
        last = self._keeper.store(self._queue, cut, label)
        self._session.update(next_sequence=last + 1)
        self._schedule.note(time.monotonic())
        self._wake.set()
        return last

    # The sender

    def _send_always(self) -> None:
        while not self._stop.is_set():
            try:
                if self._session.value.phase == STEADY:
                    self._send_oldest()
                else:
                    self._replicate_everything()
            except Interrupted:
                log.info("stream %s: looking what is to be done", self.stream)
            except LOST as error:
                self._begin_again(str(error), cause_of(error))
                self._stop.wait(RETRY_S)
            except Exception:  # whatever it is, the changes wait on disk and the next attempt may work
                log.exception("sending failed")
                self._stop.wait(RETRY_S)

    def _send_oldest(self) -> None:
        self._wake.clear()
        document = self._queue.oldest()
        if document is None:
            self._wake.wait(IDLE_S)
            return
        self._uplink.put(document.head.sequence, self._queue.body(document))
        self._queue.remove(document)

    def _replicate_everything(self) -> None:
        self._again.clear()
        self._look_for_growth()
        if self._growth.pending:
            # A new order comes with the new sizes once the replica has been grown.
            self._stop.wait(IDLE_S)
            return
        # Asked first: there is no sense in recording while nobody takes the copy.
        first = self._uplink.expected()
        blank = self._session.value.phase == COPY
        self._begin_recording(first)
        copier = Copier(
            self._capture, self._disks, self._uplink, first=first, head_of=self._copy_head, progressed=self._progressed
        )
        if blank:
            copier.copy_everything()
        else:
            copier.copy_differences()
        self._uplink.wait_forwarded(copier.next_sequence - 1)
        self._complete(copier.next_sequence)

    def _begin_recording(self, first: int) -> None:
        with self._lock:
            self._queue.clear()
            self._queued.clear()
            self._capture.restart()
            self._take_disks()
            # Should this attempt end early, the replica is blank no more: the next one has to compare.
            self._session.update(
                phase=CHECKSUM,
                next_sequence=first,
                generation=self._capture.generation(),
                boot_id=BOOT_ID.read_text().strip(),
            )
            self._recording = True

    def _complete(self, sequence: int) -> None:
        kind = "resynchronisation-complete" if self._session.value.completed else "initial-replication-complete"
        with self._lock:
            if self._again.is_set():
                raise Interrupted
            self._keeper.store(self._queued, self._capture.cut(), Label(self._queued.last_sequence() + 1, point=True))
            following = self._queue.adopt(self._queued, sequence)
            self._post(kind, {"first_sequence": sequence})
            self._session.update(phase=STEADY, completed=True, next_sequence=following)
        # Nobody should hear of a recovery point before hearing that the copy is complete.
        self._outbox.wait_delivered(Deadline.after(ANNOUNCE_S))

    def _copy_head(self, sequence: int) -> Head:
        return Head(self.stream, sequence, "copy", self._machine, self._keeper.described)

    def _progressed(self, progress: Progress) -> None:
        if time.monotonic() - self._progress_at >= PROGRESS_S:
            self._progress_at = time.monotonic()
            self._post("progress", {"phase": self._session.value.phase, **vars(progress)})
