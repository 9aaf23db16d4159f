"""What a check of a bundle found, as a value."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """Something that is not as it was signed, or does not follow from the raw data. ``where``: a file of the bundle."""

    where: str
    what: str
