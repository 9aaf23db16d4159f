"""Why a rule is unproven, in words for a reader of a certificate. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
"""A defect, as ``Judged.to_json`` makes it."""


def why_unproven(rules: Iterable[str], rows: Sequence[Row], no_defect: Mapping[str, str]) -> dict[str, str]:
    """Return the reason for each of some unproven rules.

    Args:
        rules: their ids.
        rows: all defects.
        no_defect: id to why no defect can break it, empty where one can.
    """
    return {
        rule: no_defect.get(rule) or _of_defects([row for row in rows if rule in row["requirements"]]) for rule in rules
    }


def _of_defects(rows: Sequence[Row]) -> str:
    if not rows:
        return "no defect breaks it"
    tried = [row for row in rows if row["ran"] and not row["equivalent"]]
    if tried:
        return f"no test that carries it noticed {_names(tried)}"
    untried = [row for row in rows if not row["ran"]]
    if not untried:
        return f"nobody could notice {_names(rows)}: it is equivalent"
    machines = (
        "needs a lab, on which it was not tried" if all(row["needs_machines"] for row in untried) else "not tried"
    )
    return f"{_names(untried)}: {machines}"


def _names(rows: Iterable[Row]) -> str:
    return ", ".join(row["name"] for row in rows)
