"""What makes it necessary to compare all disks with their replica: changes that nobody has any more (domain 2.4)."""

from __future__ import annotations

from lab.replication.mobility.capture import ChangeLogGap
from lab.replication.mobility.uplink import UploadRejected
from lab.replication.mobility.write_log import LogOverflow


class SpoolFull(OSError):
    """The changes that wait take more room than they may."""


class ChangesLost(OSError):
    """Files of changes are missing or damaged."""


LOST = (ChangeLogGap, SpoolFull, ChangesLost, UploadRejected)


def cause_of(error: Exception) -> str | None:
    """Return the name of what made a resynchronisation necessary (domain 2.4), None when it has none.

    ``log-overflow``: changes were lost for want of room, here or in a write log.
    """
    if isinstance(error, SpoolFull) or isinstance(error.__cause__, LogOverflow):
        return "log-overflow"
    return error.cause if isinstance(error, ChangeLogGap) else None
