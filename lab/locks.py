"""Locks of files: one process at a time. A lock ends with who holds it, however that ends."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lab.errors import LabError
from lab.waiting import Deadline, DeadlineExceeded, wait_until


def taken(file: IO[str]) -> bool:
    """Take a file's lock unless somebody else has it, and say whether that worked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def held(path: Path, deadline: Deadline, what: str) -> Iterator[IO[str]]:
    """Hold a file's lock as soon as nobody else does; the file and its folder are made.

    ``what`` is waited for, in words of the message. Raises LabError.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        try:
            wait_until(lambda: taken(file), deadline, what, every=0.05)
        except DeadlineExceeded as error:
            raise LabError(str(error), hint=f"another command works with it: fuser {path}") from error
        yield file
