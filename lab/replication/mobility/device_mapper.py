"""Device mapper by its ioctls (kernel: include/uapi/linux/dm-ioctl.h).

A cut has to be made by a process that touches no disk while the disks are suspended, its own among them; so no
``dmsetup`` is started, and the caller locks its memory.
"""

from __future__ import annotations

import fcntl
import os
import struct
from dataclasses import dataclass
from pathlib import Path

CONTROL = Path("/dev/mapper/control")

_HEADER = struct.Struct("=3I I I I i I I I Q 128s 129s 7x")
_TARGET = struct.Struct("=Q Q i I 16s")
_SUSPEND, _TABLE_LOAD, _TABLE_STATUS = 0xC138FD06, 0xC138FD09, 0xC138FD0C
_FLAG_SUSPEND, _FLAG_STATUS_TABLE, _FLAG_SKIP_LOCKFS, _FLAG_NO_FLUSH = 1 << 1, 1 << 4, 1 << 10, 1 << 11
_ANSWER_BYTES = 1024
"""At most this, so that CPython copies to the stack and lets other threads run during the call."""


@dataclass(frozen=True)
class Target:
    """One line of a table: ``sectors`` from sector 0 on, handled by ``kind`` with ``parameters``."""

    sectors: int
    kind: str
    parameters: str


class DeviceMapper:
    """The control device, opened once."""

    def __init__(self, control: Path = CONTROL) -> None:
        self._control = os.open(control, os.O_RDWR | os.O_CLOEXEC)

    def suspend(self, name: str, *, freeze: bool = False) -> None:
        """Hold new writes and wait for those under way.

        Without ``freeze`` this is a crash-consistent instant; with it the file system on the mapping first writes out
        what it has and is frozen until the resume.

        Raises:
            OSError: no such mapping.
        """
        self._call(_SUSPEND, name, _FLAG_SUSPEND | (0 if freeze else _FLAG_SKIP_LOCKFS | _FLAG_NO_FLUSH))

    def resume(self, name: str) -> None:
        """Let writes through again, with the table that was loaded last. Returns when the old table is gone."""
        self._call(_SUSPEND, name, 0)

    def load(self, name: str, target: Target) -> None:
        """Prepare a new table; it takes effect at the next resume."""
        parameters = target.parameters.encode() + b"\0"
        parameters += bytes(-len(parameters) % 8)
        spec = _TARGET.pack(0, target.sectors, 0, 0, target.kind.encode())
        self._call(_TABLE_LOAD, name, 0, spec + parameters, targets=1)

    def table(self, name: str) -> Target:
        """Return the first line of the live table. Raises OSError when there is no such mapping."""
        return self._first_target(name, _FLAG_STATUS_TABLE)

    def status(self, name: str) -> str:
        """Return what the first line of the live table says about itself. Raises OSError for no such mapping."""
        return self._first_target(name, 0).parameters

    def close(self) -> None:
        """Close the control device."""
        os.close(self._control)

    def _first_target(self, name: str, flags: int) -> Target:
        answer = self._call(_TABLE_STATUS, name, flags)
        start = struct.unpack_from("=I", answer, 16)[0]
        _, sectors, _, _, kind = _TARGET.unpack_from(answer, start)
        parameters = bytes(answer[start + _TARGET.size :]).split(b"\0", 1)[0].decode()
        return Target(sectors, kind.rstrip(b"\0").decode(), parameters)

    def _call(self, command: int, name: str, flags: int, data: bytes = b"", targets: int = 0) -> bytearray:
        buffer = bytearray(_ANSWER_BYTES)
        _HEADER.pack_into(
            buffer, 0, 4, 0, 0, _ANSWER_BYTES, _HEADER.size, targets, 0, flags, 0, 0, 0, name.encode(), b""
        )
        buffer[_HEADER.size : _HEADER.size + len(data)] = data
        fcntl.ioctl(self._control, command, buffer, True)
        return buffer
