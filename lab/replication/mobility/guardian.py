"""A second process that lifts a suspension when the first one dies in the middle of a cut.

Without it a killed agent would leave the machine's own system disk suspended for ever.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from lab.replication.mobility.device_mapper import DeviceMapper

LONGEST_CUT_SECONDS = 5.0
_BEGIN, _END = b"b", b"e"
_MCL_CURRENT = 1


class Guardian:
    """Forked once, with locked memory; it knows from a pipe whether a cut is under way."""

    def __init__(self, names: Sequence[str]) -> None:
        reader, self._writer = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            os.close(self._writer)
            _guard(reader, names)
            os._exit(0)
        os.close(reader)

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Say that disks are suspended inside the block, for five seconds at most."""
        os.write(self._writer, _BEGIN)
        try:
            yield
        finally:
            os.write(self._writer, _END)

    def close(self) -> None:
        """End the second process."""
        os.close(self._writer)
        with suppress(ChildProcessError):
            os.waitpid(self._child, 0)


def _guard(reader: int, names: Sequence[str]) -> None:
    # A service that is told to stop may be in the middle of a cut: its end shows at the pipe.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    mapper = DeviceMapper()
    ctypes.CDLL(None).mlockall(_MCL_CURRENT)
    cutting = False
    while True:
        ready, _, _ = select.select([reader], [], [], LONGEST_CUT_SECONDS if cutting else None)
        message = os.read(reader, 1) if ready else b""
        if not message and cutting:
            _resume_all(mapper, names)
        if ready and not message:
            return
        cutting = message == _BEGIN


def _resume_all(mapper: DeviceMapper, names: Sequence[str]) -> None:
    for name in names:
        with suppress(OSError):
            mapper.resume(name)
