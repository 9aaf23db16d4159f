"""What the last whole run took, from its certificate."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.bench.rows import Row, within

RUN_TIME = "run-time"
PEAK_MEMORY = "peak-memory"
CACHED_SECONDS = 600.0
CLEAN_SECONDS = 1200.0
IMAGES_BUILT = "images built"
"""A ``run-seconds`` measurement with these words in its context has the goal of a clean clone."""
MEMORY_MIB = 6144.0


def rows_of_run(folder: Path) -> tuple[list[Row], str | None]:
    """Return the rows of a run, and why some are left out."""
    path = folder / "certificate.json"
    try:
        certificate = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        return [], f"{RUN_TIME}, {PEAK_MEMORY}: left out, no certificate in {folder} ({type(error).__name__})"
    if certificate.get("verdict") != "pass":
        # A run that broke off early was quick and small for the wrong reason.
        return [], f"{RUN_TIME}, {PEAK_MEMORY}: left out, the verdict of {folder} is {certificate.get('verdict')}"
    rows = measured(certificate)
    missing = {RUN_TIME, PEAK_MEMORY} - {row.name for row in rows}
    return rows, f"{', '.join(sorted(missing))}: left out, not measured in {folder}" if missing else None


def measured(certificate: Mapping[str, Any]) -> list[Row]:
    """Return the rows that a certificate's measurements give; the last of a name counts."""
    found = {item["name"]: item for item in certificate.get("measurements", ())}
    rows = []
    if "run-seconds" in found:
        item = found["run-seconds"]
        goal = CLEAN_SECONDS if IMAGES_BUILT in str(item.get("context", "")) else CACHED_SECONDS
        rows.append(within(RUN_TIME, "s", float(item["value"]), goal))
    if "peak-memory-mib" in found:
        rows.append(within(PEAK_MEMORY, "MiB", float(found["peak-memory-mib"]["value"]), MEMORY_MIB))
    return rows
