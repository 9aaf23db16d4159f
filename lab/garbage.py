"""Python's collector of garbage, while it would find none: looking takes longer the more there is."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def none_looked_for() -> Iterator[None]:
    """Do not look for garbage in this block; what it leaves is taken to stay, and not looked at afterwards either."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
