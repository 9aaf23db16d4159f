"""A hold that cannot be forgotten: it lifts itself."""

from __future__ import annotations

import time

HOLD_S = 120.0
IDLE_S = 5.0


class Barrier:
    """Held until lifted or for ``HOLD_S`` seconds, whichever is first."""

    def __init__(self) -> None:
        self._until = 0.0

    @property
    def held(self) -> bool:
        """Whether nothing may be applied now."""
        return time.monotonic() < self._until

    @property
    def pause(self) -> float:
        """How long to wait before looking again, in seconds."""
        return min(IDLE_S, max(0.05, self._until - time.monotonic())) if self.held else IDLE_S

    def raise_(self) -> None:
        """Hold from now on."""
        self._until = time.monotonic() + HOLD_S

    def lift(self) -> None:
        """Hold no longer."""
        self._until = 0.0
