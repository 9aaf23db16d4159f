"""What is known of a build of the stack: what its parts showed in one process, and what whole labs showed. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lab.defects.unproven import why_unproven

Document = Mapping[str, Any]


def merged(known: Document | None, fresh: Document, requirements: Mapping[str, str]) -> dict[str, Any]:
    """Return what is known after another result.

    A result of the same kind (``how``) replaces the clean runs of that kind. A defect was noticed if either noticed it.
    What is known of another build of the stack, or in another format, is dropped.

    Args:
        known: the document until now, None when there is none.
        fresh: the new one, as ``Matrix.to_json`` makes it.
        requirements: all ids, each with why no defect can break its rule, or nothing.
    """
    mine = {fresh["how"]: fresh["clean"]}
    fits = known is not None and all(known.get(key) == fresh[key] for key in ("format", "stack"))
    if known is None or not fits:
        return {**fresh, "clean_by": mine}
    clean_by = {**known.get("clean_by", {known["how"]: known["clean"]}), **mine}
    before = {row["name"]: row for row in known["defects"]}
    rows = [_row(before.pop(row["name"], None), row) for row in fresh["defects"]]
    rows = [*before.values(), *rows]
    proven: dict[str, list[str]] = {}
    for row in rows:
        for rule in row.get("proves", ()):
            proven.setdefault(rule, []).append(row["name"])
    alarms = {test: what for clean in clean_by.values() for test, what in clean["false_alarms"].items()}
    survivors = [row for row in rows if row["ran"] and not row["caught"] and not row["equivalent"]]
    unproven = [rule for rule in requirements if rule not in proven]
    return {
        **fresh,
        "how": "; ".join(clean_by),
        "clean": {"runs": sum(clean["runs"] for clean in clean_by.values()), "false_alarms": alarms},
        "clean_by": clean_by,
        "defects": rows,
        "tests": list(dict.fromkeys([*known["tests"], *fresh["tests"]])),
        "proven": dict(sorted(proven.items())),
        "unproven": unproven,
        "why_unproven": why_unproven(unproven, rows, requirements),
        "passed": not alarms and not survivors,
        "cpu_seconds": round(known["cpu_seconds"] + fresh["cpu_seconds"], 1),
    }


def _row(before: Document | None, fresh: Document) -> Document:
    """Return the row of a defect: what either noticed; one that ran nowhere before is as it is now."""
    if before is None or not before["ran"]:
        return fresh
    if not fresh["ran"]:
        return before
    both = {key: list(dict.fromkeys([*before[key], *fresh[key]])) for key in ("by", "proves")}
    caught = before["caught"] or fresh["caught"]
    return {
        **fresh,
        **both,
        "caught": caught,
        "equivalent": not caught and (before["equivalent"] or fresh["equivalent"]),
        "why": fresh["why"] or before["why"],
    }
