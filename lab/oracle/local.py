"""Writers on this very machine, each standing for another one: for tests and measurements of the oracle itself."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from lab.oracle.group import Group, Pace
from lab.oracle.witness import Witness

END_SECONDS = 30.0
POLL_SECONDS = 0.01


class LocalWriter:
    """A native writer as a child process, and its witness.

    Raises:
        TimeoutError: from ``wait_steps`` and ``mark``, with what the writer said.
    """

    def __init__(self, tool: Path, group: Group, machine: int, log: Path) -> None:
        self._tool, self._group, self._machine = tool, group, machine
        self.witness = Witness(log, machine)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that writes."""
        return self._running().pid

    @property
    def running(self) -> bool:
        """Whether it was started and not ended."""
        return self._process is not None

    def start(self, pace: Pace, *, epoch: int = 1, resume: bool = False) -> None:
        """Begin to write."""
        arguments = self._group.write_arguments(self._machine, pace, epoch=epoch, resume=resume)
        self._process = subprocess.Popen(
            [str(self._tool), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        output = self._process.stdout
        assert output is not None  # noqa: S101 - PIPE was asked for
        self.witness.listen(lambda: _Pipe(output))

    def command(self, text: str) -> None:
        """Send a command: ``marker N``, ``resume``, ``epoch N``, ``token``, ``rate N``."""
        stdin = self._running().stdin
        assert stdin is not None  # noqa: S101 - PIPE was asked for
        stdin.write(text.encode() + b"\n")

    def wait_steps(self, more: int, seconds: float = END_SECONDS) -> None:
        """Wait until every lane has finished ``more`` further steps."""
        before = {lane: newest.seq for lane, newest in self.witness.newest().items()}
        lanes = [lane.index for lane in self._group.lanes_of(self._machine)]

        def reached() -> bool:
            now = self.witness.newest()
            return all(lane in now and now[lane].seq >= before.get(lane, 0) + more for lane in lanes)

        self._wait(reached, f"{more} more steps", seconds)

    def mark(self, marker: int, seconds: float = END_SECONDS) -> None:
        """Write a marker and wait until every lane is held by it; ``resume`` lets them go on."""
        self.command(f"marker {marker}")
        lanes = {lane.index for lane in self._group.lanes_of(self._machine)}
        self._wait(lambda: self.witness.lanes_at(marker) == lanes, f"marker {marker}", seconds)

    def stop(self) -> None:
        """Let the writer end by itself."""
        process = self._running()
        assert process.stdin is not None  # noqa: S101 - PIPE was asked for
        process.stdin.close()
        self._end(process)

    def kill(self) -> None:
        """End the writer at once, as a power cut would."""
        process = self._running()
        process.kill()
        self._end(process)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        process.wait(END_SECONDS)
        self.witness.join(END_SECONDS)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        self._process = None

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"the writer of machine {self._machine} does not run")
        return self._process

    def _wait(self, reached: Callable[[], bool], what: str, seconds: float) -> None:
        end, pause = time.monotonic() + seconds, threading.Event()
        while not reached():
            if time.monotonic() > end:
                remarks = "; ".join(self.witness.remarks())
                raise TimeoutError(f"no {what} on machine {self._machine} within {seconds:.0f} s: {remarks}")
            pause.wait(POLL_SECONDS)


class _Pipe:
    """A pipe with the one method that the witness needs."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe

    def recv(self, size: int) -> bytes:
        return self._pipe.read(size)
