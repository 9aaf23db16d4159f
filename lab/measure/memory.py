"""The most memory that a run used at one moment: this process, what it started, and the lab's QEMU processes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

PROC = Path("/proc")
EVERY_SECONDS = 1.0
LOOK_SECONDS = 15.0
"""Without growth. The kernel walks through all pages of a process to tell its share of them: 15 ms for each machine."""
END_SECONDS = 30.0
_PARENT_FIELD = 1
_RESIDENT_FIELD = 1
_KIB_PER_MIB = 1024


class PeakMemory:
    """Samples in a thread for as long as the block runs; shared pages count once (PSS).

    What is resident is asked for every time. Only when that is more than ever before, or after a while, the share of
    each process is: what is shared no longer makes that grow too.

    Args:
        tag: what the lab's machines carry; they count although libvirt's daemon started them.
        every: seconds between samples.
        look: seconds after which shares are asked for in any case.
    """

    def __init__(self, tag: str, every: float = EVERY_SECONDS, look: float = LOOK_SECONDS) -> None:
        self.mark = f"guest={tag}.".encode()
        self._every = every
        self._look = look
        self._looked = float("-inf")
        self._most_resident_kib = 0
        self._known: dict[int, bool] = {}
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        self._peak_kib = 0

    def __enter__(self) -> Self:
        self.sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(END_SECONDS)

    @property
    def peak_mib(self) -> float:
        """The largest sum so far."""
        return self._peak_kib / _KIB_PER_MIB

    def _watch(self) -> None:
        while not self._end.wait(self._every):
            self.sample()

    def sample(self) -> None:
        """Look once."""
        ours = self._ours()
        resident, now = sum(resident_kib(pid) for pid in ours), time.monotonic()
        if resident > self._most_resident_kib or now - self._looked >= self._look:
            self._most_resident_kib = max(self._most_resident_kib, resident)
            self._looked = now
            # One that was seen before it became a machine.
            self._known.clear()
            self._peak_kib = max(self._peak_kib, used_kib(ours))

    def _ours(self) -> set[int]:
        """Return this process, its descendants and every QEMU with the mark in its arguments."""
        parents = _parents()
        self._known = {pid: self._known[pid] if pid in self._known else self._is_machine(pid) for pid in parents}
        return descendants(parents, os.getpid()) | {pid for pid, machine in self._known.items() if machine}

    def _is_machine(self, pid: int) -> bool:
        return is_machine(_read(pid, "cmdline"), self.mark)


def used_kib(processes: Iterable[int]) -> int:
    """Return what processes use now; shared pages count once."""
    return sum(_kib(pid) for pid in processes)


def descendants(parents: Mapping[int, int], root: int) -> set[int]:
    """Return ``root`` and everything below it, from process id to parent."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found, waiting = set(), [root]
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting += children.get(pid, [])
    return found


def is_machine(command_line: bytes, mark: bytes) -> bool:
    """Return whether this is a QEMU that runs a machine of the lab; ``mark`` is ``guest=TAG.``."""
    program, *arguments = command_line.split(b"\0")
    return b"qemu" in program.rpartition(b"/")[2] and any(argument.startswith(mark) for argument in arguments)


def pss_kib(rollup: bytes) -> int | None:
    """Read ``smaps_rollup``; None when it has no answer."""
    for line in rollup.splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1])
    return None


def _kib(pid: int) -> int:
    found = pss_kib(_read(pid, "smaps_rollup"))
    if found is not None:
        return found
    return resident_kib(pid)


def resident_kib(pid: int) -> int:
    """Return what a process has in memory, shared or not; 0 when it is gone."""
    pages = _read(pid, "statm").split()
    return int(pages[_RESIDENT_FIELD]) * (os.sysconf("SC_PAGE_SIZE") // 1024) if pages else 0


def _parents() -> dict[int, int]:
    found = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            fields = _read(int(folder.name), "stat").rpartition(b")")[2].split()
            if fields:
                found[int(folder.name)] = int(fields[_PARENT_FIELD])
    return found


def _read(pid: int, name: str) -> bytes:
    """Return a file of a process; empty when the process is gone or is not ours to look into."""
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""
