"""What the rows of certificates of two versions of the lab have in common. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.history.model import counted

Row = Mapping[str, Any]
_SAYING = frozenset({"id", "nodeid", "name", "what", "status", "outcome", "value", "unit"})
"""What a row is about and says of it: no version is without these."""


def shared(told: Sequence[Row], found: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """Return the rows of another version and those of this one with the fields that both know.

    Rows of rules beyond the scenario, which older versions showed and did not count, are left out.
    """
    said = [row for row in told if counted(row)]
    fields = _fields(found) & (_fields(said) | _SAYING)
    return _only(fields, said), _only(fields, found)


def _fields(rows: Sequence[Row]) -> frozenset[str]:
    return frozenset(name for row in rows for name in row)


def _only(fields: frozenset[str], rows: Sequence[Row]) -> list[Row]:
    return [{name: value for name, value in row.items() if name in fields} for row in rows]
