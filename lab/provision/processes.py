"""Processes of a lab that run beside its machines, recorded so that the reaper ends the right ones."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.provision.home import LabFolder
from lab.waiting import Deadline, DeadlineExceeded, wait_until

END_SECONDS = 10.0


@dataclass(frozen=True)
class LabProcess:
    """A running process of a lab. ``started`` is the kernel's start time, because process ids are used again."""

    name: str
    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return start_time(self.pid) == self.started


def spawn(folder: LabFolder, name: str, argv: Sequence[str], environment: Mapping[str, str]) -> LabProcess:
    """Start a process in its own session, its output in a log beside its record. Raises LabError."""
    log = folder.processes / f"{name}.log"
    # Not subprocess: its objects expect to see the end of what they started, and this outlives us.
    actions = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    try:
        pid = os.posix_spawnp(argv[0], list(argv), dict(environment), file_actions=actions, setsid=True)
    except OSError as error:
        raise LabError(f"{name} did not start: {error}") from error
    process = LabProcess(name, pid, start_time(pid) or "")
    record = {"name": name, "pid": process.pid, "started": process.started}
    temporary = folder.processes / f"{name}.new"
    temporary.write_text(json.dumps(record), encoding="utf-8")
    temporary.replace(folder.processes / f"{name}.json")
    return process


def kill_and_start_again(folder: LabFolder, name: str) -> tuple[LabProcess, LabProcess]:
    """End a recorded process with SIGKILL, then start it as it was started before; return the old one and the new.

    Raises:
        LabError: it does not run.
        DeadlineExceeded: it does not end.
    """
    with killed(folder, name) as old:
        pass
    return old, next(process for process in recorded(folder) if process.name == name)


@contextmanager
def killed(folder: LabFolder, name: str) -> Iterator[LabProcess]:
    """Have a recorded process dead inside the block, which gets the old one; then start it as it was started before.

    Raises:
        LabError: it does not run.
        DeadlineExceeded: it does not end.
    """
    old = next((process for process in recorded(folder) if process.name == name and process.alive), None)
    if old is None:
        raise LabError(f"process {name} of lab {folder.name} does not run")
    kernel = Path("/proc") / str(old.pid)
    argv = _words(kernel / "cmdline")
    # May hold a secret: it goes from one process to the next and nowhere else.
    environment = dict(word.split("=", 1) for word in _words(kernel / "environ") if "=" in word)
    os.kill(old.pid, signal.SIGKILL)
    wait_until(lambda: not old.alive, Deadline.after(END_SECONDS), f"end of {name}")
    try:
        yield old
    finally:
        spawn(folder, name, argv, environment)


def _words(path: Path) -> list[str]:
    return path.read_bytes().decode(errors="surrogateescape").rstrip("\0").split("\0")


def recorded(folder: LabFolder) -> list[LabProcess]:
    """Return the lab's processes, alive or not."""
    records = sorted(folder.processes.glob("*.json")) if folder.processes.is_dir() else []
    return [LabProcess(**json.loads(path.read_text(encoding="utf-8"))) for path in records]


def end_all(folder: LabFolder, prefix: str = "") -> list[str]:
    """End the lab's processes, those whose names begin so, politely at first; return the names of those that ran."""
    ended = []
    for process in (found for found in recorded(folder) if found.name.startswith(prefix)):
        if process.alive:
            _end(process)
            ended.append(f"process {process.name}")
        (folder.processes / f"{process.name}.json").unlink(missing_ok=True)
    return ended


def start_time(pid: int) -> str | None:
    """Return when a process started in clock ticks since boot, or None when it is gone or a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except (OSError, UnicodeDecodeError):
        return None
    return None if fields[0] == "Z" else fields[19]


def _end(process: LabProcess) -> None:
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.kill(process.pid, kind)
        try:
            wait_until(lambda: not process.alive, Deadline.after(END_SECONDS), f"end of {process.name}")
        except DeadlineExceeded:
            continue
        return
