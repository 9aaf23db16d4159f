"""Where a cut of one machine meets those of others: twice, with its logs ready and with its disks held."""

from __future__ import annotations

from typing import Protocol


class Abandoned(Exception):
    """The others do not come: the cut is given up before anything was held."""


class Rendezvous(Protocol):
    """Called by the capture in the middle of a cut."""

    def ready(self) -> None:
        """New logs are prepared; return when the disks should be held.

        Raises:
            Abandoned: do not hold them.
        """

    def held(self) -> None:
        """All disks are held; return, always and soon, when writes should go on."""


class Alone:
    """A cut that waits for nobody."""

    def ready(self) -> None:
        """Go on."""

    def held(self) -> None:
        """Go on."""


ALONE: Rendezvous = Alone()
