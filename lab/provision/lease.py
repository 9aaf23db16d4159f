"""One command at a time may change a lab. The lock ends with its process, however that ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.errors import LabError
from lab.provision.home import Home
from lab.waiting import Deadline, DeadlineExceeded, wait_until


@contextmanager
def held(path: Path, deadline: Deadline, what: str) -> Iterator[None]:
    """Hold a file's lock as soon as nobody else does; the file and its folder are made. Raises LabError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:

        def locked() -> bool:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        try:
            wait_until(locked, deadline, f"turn with {what}", every=0.05)
        except DeadlineExceeded as error:
            raise LabError(str(error), hint="another command works with it") from error
        yield


@contextmanager
def leased(home: Home, lab: str) -> Iterator[None]:
    """Hold the lab's lease inside the block.

    Raises:
        BadInput: that is no name for a lab.
        LabError: another command works with this lab.
    """
    lease = home.folder / "leases" / home.lab(lab).name
    lease.parent.mkdir(parents=True, exist_ok=True)
    with lease.open("w", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LabError(
                f"another command is working with lab {lab}", hint="wait for it, or give this one another --name"
            ) from error
        yield
