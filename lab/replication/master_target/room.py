"""When a disk of recovery points is short of room: before it is full, because a full one ends replication.

Sibling products act on low space in this way too (facts, domain.md, section 2: "space limit + action on low space").
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

RESERVED_SHARE = 0.1
MOST_RESERVED = 1 << 30
LARGEST_DOCUMENT = 64 << 20
"""More than any document overwrites, and so more than its undo file takes: 16 MiB of an agent, 32 of a host."""


class Usage(Protocol):
    """Bytes of a file system."""

    @property
    def total(self) -> int:
        """How large it is."""

    @property
    def free(self) -> int:
        """How many of them are free."""


class Room:
    """The file system of ``directory``. Documents that come meanwhile need room too: that is what is reserved."""

    def __init__(self, directory: Path, usage: Callable[[Path], Usage] = shutil.disk_usage) -> None:
        self._directory = directory
        self._usage = usage

    @property
    def short(self) -> bool:
        """Whether one more document would take what is reserved. Raises OSError."""
        found = self._usage(self._directory)
        return found.free < min(RESERVED_SHARE * found.total, MOST_RESERVED) + LARGEST_DOCUMENT
