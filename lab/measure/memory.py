"""The most memory that a run used at one moment: this process, what it started, and the lab's QEMU processes."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

PROC = Path("/proc")
EVERY_SECONDS = 1.0
END_SECONDS = 30.0
_PARENT_FIELD = 1
_RESIDENT_FIELD = 1
_KIB_PER_MIB = 1024


class PeakMemory:
    """Samples in a thread for as long as the block runs; shared pages count once (PSS).

    Args:
        tag: what the lab's machines carry; they count although libvirt's daemon started them.
        every: seconds between samples.
    """

    def __init__(self, tag: str, every: float = EVERY_SECONDS) -> None:
        self.mark = f"guest={tag}.".encode()
        self._every = every
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="peak-memory", daemon=True)
        self._peak_kib = 0

    def __enter__(self) -> Self:
        self._sample()
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
            self._sample()

    def _sample(self) -> None:
        self._peak_kib = max(self._peak_kib, used_kib(os.getpid(), self.mark))


def used_kib(root: int, mark: bytes) -> int:
    """Return what a process, its descendants and every QEMU with ``mark`` in its arguments use now."""
    parents = _parents()
    ours = descendants(parents, root) | {pid for pid in parents if is_machine(_read(pid, "cmdline"), mark)}
    return sum(_kib(pid) for pid in ours)


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
