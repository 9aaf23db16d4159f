"""What a replication has cut and not sent yet. While disks are copied, cuts go to a second queue.

The documents of that queue are sent after the copy, and only the last of them, made after everything was copied,
carries a recovery point.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

from lab.replication.changeset import Disk
from lab.replication.common.service import BOOT_ID
from lab.replication.mobility.capture import CapturedDisk, ChangeLogGap, Cut, LoggingCapture
from lab.replication.mobility.growth import DISK_RESIZED, Growth
from lab.replication.mobility.hrl import HrlQueue
from lab.replication.mobility.keeper import Keeper, Label
from lab.replication.mobility.session import CHECKSUM, STEADY, Session, SessionFile
from lab.replication.mobility.telling import Telling
from lab.replication.mobility.uplink import Interrupted

log = logging.getLogger(__name__)

FORCED_SHUTDOWN, RESTARTED = "forced-shutdown", "machine-restarted"


class Record:
    """The record of ``session``, in ``directory``; its changes may take ``quota`` bytes.

    Whoever holds ``lock`` owns the capture, and decides what the next sequence is. ``again`` is set when everything
    has to be compared, ``wake`` when there is something to send.
    """

    def __init__(
        self,
        capture: LoggingCapture,
        session: SessionFile[Session],
        telling: Telling,
        *,
        machine: str,
        directory: Path,
        quota: int,
    ) -> None:
        self.lock = threading.RLock()
        self.again = threading.Event()
        self.wake = threading.Event()
        self.queue = HrlQueue(directory, quota)
        self._queued = HrlQueue(directory / "queued", quota)
        self._capture = capture
        self._session = session
        self._telling = telling
        self._machine = machine
        self._goes_on = False
        self._growth = Growth(session.value.order.sizes)
        self._take_disks()

    @property
    def goes_on(self) -> bool:
        """Whether every change since the last cut is in the record."""
        return self._goes_on

    @property
    def outgrown(self) -> bool:
        """Whether a disk is larger than its replica: a new order comes with the sizes once that has been grown."""
        return self._growth.pending

    @property
    def disks(self) -> Sequence[CapturedDisk]:
        """The disks that are replicated."""
        return self._keeper.disks

    @property
    def described(self) -> tuple[Disk, ...]:
        """The disks as heads of documents name them."""
        return self._keeper.described

    def _take_disks(self) -> None:
        order = self._session.value.order
        disks = [disk for disk in self._capture.disks() if order.disks is None or disk.index in order.disks]
        self._keeper = Keeper(self._capture, disks, order.stream, self._machine)

    def take_up(self, *, stopped: bool) -> None:
        """Go on with the record of the last run; ``stopped``: that was told to stop.

        Raises:
            ChangeLogGap: it did not go on meanwhile.
            ChangesLost: what waits is damaged.
        """
        self.queue.load()
        self._queued.clear()
        if self._capture.generation() != self._session.value.generation:
            how, cause = ("was restarted", RESTARTED) if stopped else ("stopped without notice", FORCED_SHUTDOWN)
            raise ChangeLogGap("all disks", f"the machine {how}, which broke the record of changes", cause)
        # The spool knows about cuts that were stored just before a crash.
        following = max(self._session.value.next_sequence, self.queue.last_sequence() + 1)
        self._session.update(next_sequence=following)
        self._goes_on = True

    def begin_again(self, reason: str, cause: str | None = None) -> None:
        """Believe nothing of it any more: everything has to be compared."""
        with self.lock:
            self._goes_on = False
            if self._session.value.phase == STEADY:
                self._session.update(phase=CHECKSUM)
            self.again.set()
        log.warning("resynchronisation: %s", reason)
        self._telling.begins_again(reason, cause, first=not self._session.value.completed)
        self.wake.set()

    def look_for_growth(self) -> None:
        """Begin again when a disk has outgrown its replica: nothing of it is sent before the replica is as large."""
        grown = self._growth.news(self._capture.present_sizes())
        if grown:
            self.begin_again(str(grown), DISK_RESIZED)
            self._telling.post("disks-grown", grown.to_json())

    def begin(self, first: int) -> None:
        """Begin a new record, before a copy whose first document has the number ``first``."""
        with self.lock:
            self.queue.clear()
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
            self._goes_on = True

    def keep_aside(self, cut: Cut, *, point: bool = False) -> None:
        """Keep a cut that was made while disks are copied. Raises ChangeLogGap, SpoolFull."""
        self._keeper.store(self._queued, cut, Label(self._queued.last_sequence() + 1, point=point))

    def keep(self, cut: Cut, *, shared: str | None = None, application: bool = False) -> int:
        """Keep a cut as a recovery point and return its last sequence. Raises ChangeLogGap, SpoolFull."""
        label = Label(self._session.value.next_sequence, point=True, shared=shared, application=application)
        last = self._keeper.store(self.queue, cut, label)
        self._session.update(next_sequence=last + 1)
        self.wake.set()
        return last

    def complete(self, sequence: int) -> None:
        """Make the first recovery point, after a copy whose last document came before ``sequence``.

        Raises:
            Interrupted: everything has to be compared again.
            ChangeLogGap: changes are missing.
            SpoolFull: there is no room for them.
        """
        first = not self._session.value.completed
        with self.lock:
            if self.again.is_set():
                raise Interrupted
            self.keep_aside(self._capture.cut(), point=True)
            following = self.queue.adopt(self._queued, sequence)
            self._telling.copied(sequence, first=first)
            self._session.update(phase=STEADY, completed=True, next_sequence=following)
        self._telling.wait_heard()
