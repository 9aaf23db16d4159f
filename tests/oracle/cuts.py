"""Real cuts of real writers on this machine: copies of their files while they are stopped."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from lab.oracle.group import Group
from lab.oracle.judge import StoredHistory
from lab.oracle.local import LocalWriter
from lab.oracle.scan import Copy, scan_group

STOP_SECONDS = 10.0


def stop_all(writers: Iterable[LocalWriter]) -> None:
    """Freeze every writer; returns when all their threads have stopped."""
    for writer in writers:
        os.kill(writer.pid, signal.SIGSTOP)
    end = time.monotonic() + STOP_SECONDS
    for writer in writers:
        while not _stopped(writer.pid):
            assert time.monotonic() < end, "a writer does not stop"


def continue_all(writers: Iterable[LocalWriter]) -> None:
    for writer in writers:
        os.kill(writer.pid, signal.SIGCONT)


def copy_files(group: Group, folder: Path, machines: Sequence[int]) -> dict[tuple[int, int], Path]:
    """Copy the volumes of some machines."""
    folder.mkdir(exist_ok=True)
    copies = {}
    for machine in machines:
        for volume, path in enumerate(group.members[machine].volumes):
            copies[machine, volume] = folder / f"m{machine}v{volume}"
            shutil.copyfile(path, copies[machine, volume])
    return copies


def scan_cut(tool: Path, group: Group, writers: Sequence[LocalWriter], folder: Path) -> Copy:
    """Stop all, copy all, let all go on; and read the copies."""
    stop_all(writers)
    copies = copy_files(group, folder, range(len(writers)))
    continue_all(writers)
    return scan_group(tool, group, copies)


def history_of(group: Group, writers: Sequence[LocalWriter]) -> StoredHistory:
    return StoredHistory(group, {machine: writer.witness.log for machine, writer in enumerate(writers)})


def _stopped(pid: int) -> bool:
    states = [Path(task, "stat").read_text().rpartition(")")[2].split()[0] for task in _tasks(pid)]
    return all(state in "Tt" for state in states)


def _tasks(pid: int) -> list[str]:
    return [entry.path for entry in os.scandir(f"/proc/{pid}/task")]
