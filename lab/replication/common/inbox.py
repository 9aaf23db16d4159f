"""Documents of one stream that were received and wait to be passed on, in order, on disk."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from pathlib import Path

from lab.replication.common.durable import commit_file, read_json, sync_directory, write_json

PROGRESS = "progress.json"


class Gap(Exception):
    """A document came before the one it follows.

    Args:
        expected: the sequence that has to come next.
    """

    def __init__(self, expected: int) -> None:
        super().__init__(f"expected sequence {expected}")
        self.expected = expected


class Sealed(Exception):
    """The stream goes on elsewhere, or is being opened anew: nothing new is taken in here."""


class Inbox:
    """A directory of ``<sequence>.doc`` files, and the durable number of the last document that was passed on.

    Sequences begin with 1 and have no gaps. ``arrived`` is called (in the receiving thread) after every new document.
    """

    def __init__(self, directory: Path, arrived: Callable[[], None]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._arrived = arrived
        self._lock = threading.Lock()
        self._temporary = itertools.count(1)
        for leftover in directory.glob("*.part"):
            leftover.unlink()
        self.sealed = self._seal.exists()
        self._retired = False
        self.done = int((read_json(self._progress) or {}).get("done", 0))
        self._sizes = self._scan()
        self.received = max([self.done, *self._sizes])

    @property
    def bytes_waiting(self) -> int:
        """How much disk the waiting documents take."""
        with self._lock:
            return sum(self._sizes.values())

    @property
    def waiting(self) -> int:
        """How many documents wait."""
        return self.received - self.done

    def part(self) -> Path:
        """Return a new name for a document that is being received."""
        return self._directory / f"{next(self._temporary)}.part"

    def known(self, sequence: int) -> bool:
        """Return whether the document was received before.

        Raises:
            Gap: one before it was not.
        """
        if sequence > self.received + 1:
            raise Gap(self.received + 1)
        return sequence <= self.received

    def admit(self, part: Path, sequence: int) -> bool:
        """Add a synced file as the next document; return False if another copy of it came first.

        Raises:
            Gap: one before it was not received.
            Sealed: it is new, and nothing new is taken in any more.
        """
        with self._lock:
            if self.known(sequence):
                return False
            if self.sealed or self._retired:
                raise Sealed
            size = part.stat().st_size
            commit_file(part, self._path(sequence))
            self._sizes[sequence] = size
            self.received = sequence
        self._arrived()
        return True

    def oldest(self) -> tuple[int, Path] | None:
        """Return the document that has to be passed on next."""
        sequence = self.done + 1
        return (sequence, self._path(sequence)) if sequence <= self.received else None

    def document(self, sequence: int) -> Path | None:
        """Return a document that waits, or None."""
        return self._path(sequence) if self.done < sequence <= self.received else None

    def finish(self, sequence: int) -> None:
        """Note durably that the oldest document was passed on, and delete it."""
        write_json(self._progress, {"done": sequence})
        with self._lock:
            self.done = sequence
            self._sizes.pop(sequence, None)
        self._path(sequence).unlink(missing_ok=True)

    def pass_on(self, sequence: int) -> None:
        """Note durably that the next document went on without having been kept here. Raises Gap, Sealed."""
        with self._lock:
            if self.sealed or self._retired or self.known(sequence):
                raise Sealed
            write_json(self._progress, {"done": sequence})
            self.done = self.received = sequence

    def discard_waiting(self) -> None:
        """Delete what was not passed on."""
        with self._lock:
            for sequence in list(self._sizes):
                self._path(sequence).unlink(missing_ok=True)
            self._sizes.clear()
            self.received = self.done

    def retire(self) -> None:
        """Take in nothing from now on: another object is about to read this directory and to go on with it.

        A document that a thread admitted here afterwards would be acknowledged, and unknown to the other one.
        """
        with self._lock:
            self._retired = True

    def seal(self) -> None:
        """Take in nothing new from now on, also after a restart; what was received is passed on."""
        with self._lock:
            self._seal.touch()
            sync_directory(self._directory)
            self.sealed = True

    def unseal(self) -> None:
        """Take in documents again."""
        with self._lock:
            self._seal.unlink(missing_ok=True)
            sync_directory(self._directory)
            self.sealed = False

    @classmethod
    def begin_at(cls, directory: Path, sequence: int) -> None:
        """Prepare a new inbox whose first document is ``sequence``: those before were passed on elsewhere."""
        directory.mkdir(parents=True, exist_ok=True)
        write_json(directory / PROGRESS, {"done": sequence - 1})

    @property
    def _seal(self) -> Path:
        return self._directory / "sealed"

    @property
    def _progress(self) -> Path:
        return self._directory / PROGRESS

    def _path(self, sequence: int) -> Path:
        return self._directory / f"{sequence:012}.doc"

    def _scan(self) -> dict[int, int]:
        sizes: dict[int, int] = {}
        for path in sorted(self._directory.glob("*.doc")):
            if int(path.stem) <= self.done:
                path.unlink()
            else:
                sizes[int(path.stem)] = path.stat().st_size
        return sizes
