"""Documents of the configuration server as tables of plain text. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

Document = Mapping[str, Any]
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "alerts": ("machine", "level", "code", "message"),
    "machines": ("name", "state", "health", "causes", "rpo_seconds", "recovery_points", "job"),
    "groups": ("name", "members", "consistent"),
    "plans": ("name", "groups", "last_run"),
    "policies": ("name", "recovery_point_interval_s", "retention_s", "rpo_threshold_s"),
    "components": ("id", "kind", "addresses", "last_seen_ns"),
    "jobs": ("id", "machine", "operation", "state", "error"),
    "recovery_points": ("id", "kind", "shared", "begin_ns", "end_ns"),
    "steps": ("name", "state", "detail"),
}
PARTS = ("alerts", "machines", "groups", "plans", "policies", "components", "jobs")


def listing(part: str, rows: Sequence[Document]) -> str:
    """Return a table with a title; one without rows says so."""
    columns = COLUMNS[part]
    cells = [columns, *([_cell(column, row) for column in columns] for row in rows)]
    widths = [max(len(row[number]) for row in cells) for number in range(len(columns))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return "\n".join([f"{part}:", *lines, *([] if rows else ["none"])])


def facts(document: Document) -> str:
    """Return what a document says of one thing, a line for each plain value."""
    plain = {key: value for key, value in document.items() if not isinstance(value, (list, dict))}
    width = max((len(key) for key in plain), default=0)
    return "\n".join(f"{key.ljust(width)}  {_plain(value)}" for key, value in plain.items())


def _cell(column: str, row: Document) -> str:
    if column == "health":
        return _plain(row["health"]["status"])
    if column == "causes":
        return _plain("; ".join(row["health"]["causes"]))
    value = row.get(column)
    if column == "members":
        return _plain(", ".join(member["name"] for member in row["members"]))
    if column == "groups":
        return _plain(" then ".join(", ".join(group["machines"]) for group in row["groups"]))
    if isinstance(value, Mapping):
        return _plain(": ".join(str(part) for part in value.values()))
    return _plain(", ".join(map(str, value)) if isinstance(value, list) else value)


def _plain(value: object) -> str:
    """Nothing that a machine says may steer the terminal."""
    if value is None:
        return "-"
    text = f"{value:.0f}" if isinstance(value, float) else str(value)
    return "".join(letter if unicodedata.category(letter)[0] != "C" else "?" for letter in text)
