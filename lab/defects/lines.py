"""Whether changed lines of a defect are executed: one that never ran is not equivalent, it was not tried."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from types import FrameType
from typing import Any

from lab.defects.model import Defect
from lab.defects.patching import changed_sources, source_file


class Lines:
    """Watches the changed lines of a defect that is in this process."""

    def __init__(self, defect: Defect) -> None:
        self._wanted = {
            str(source_file(module)): changed_lines(source_file(module).read_text(encoding="utf-8"), text)
            for module, text in changed_sources(defect).items()
        }
        self.ran = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look at every line of the changed modules, in all threads that begin during the block."""
        threading.settrace(self._enter)
        sys.settrace(self._enter)
        try:
            yield
        finally:
            sys.settrace(None)
            threading.settrace(None)

    def _enter(self, frame: FrameType, event: str, _: Any) -> Any:
        del event
        return self._line if frame.f_code.co_filename in self._wanted else None

    def _line(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "line" and frame.f_lineno in self._wanted[frame.f_code.co_filename]:
            self.ran = True
        return self._line


def changed_lines(before: str, after: str) -> frozenset[int]:
    """Return the numbers of the lines of ``after`` that ``before`` does not have; else of the first that moved."""
    old, new = before.splitlines(), after.splitlines()
    known = set(old)
    fresh = frozenset(number for number, line in enumerate(new, 1) if line not in known)
    moved = next((number for number, pair in enumerate(zip_longest(old, new), 1) if pair[0] != pair[1]), 1)
    return fresh or frozenset({moved})
