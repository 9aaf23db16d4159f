"""Rows with when and where they were measured: the file of the bench, and how runs are joined."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lab.bench.rows import Row
from lab.doctor.acceleration import assess
from lab.errors import BadInput
from lab.ledger import utc_now

MINUTE = len("2026-11-30T03:00")


@dataclass(frozen=True)
class Run:
    """When a row was measured (UTC), by which version, and on what kind of computer."""

    at: str
    version: str
    cores: int | None
    acceleration: str | None
    """Of the machines that were started: "kvm" or "tcg"."""
    load: float | None
    """Of the last minute, when the bench began."""
    by_hand: str = ""
    """The file below docs/ from which a person took the row; empty: the bench has written it."""


@dataclass(frozen=True)
class Recorded:
    """A row and its run."""

    row: Row
    run: Run


def this_run(home: Path) -> Run:
    """Return what the rows of this process have in common; ``home`` remembers whether KVM was proved."""
    return Run(
        at=utc_now()[:MINUTE],
        version=version("recovery-lab"),
        cores=len(os.sched_getaffinity(0)),
        acceleration=assess(home, None, None).acceleration.value,
        load=round(os.getloadavg()[0], 1),
    )


def joined(earlier: Iterable[Recorded], later: Iterable[Recorded]) -> list[Recorded]:
    """Return all rows by name; a later one takes the place of an earlier one."""
    found = {each.row.name: each for each in (*earlier, *later)}
    return [found[name] for name in sorted(found)]


def as_json(recorded: Iterable[Recorded]) -> str:
    """Return the file's text: a list of rows, each with its run."""
    documents = [{**asdict(each.row), "run": asdict(each.run)} for each in recorded]
    return json.dumps(documents, indent=1, allow_nan=False) + "\n"


def read_rows(path: Path) -> list[Recorded]:
    """Return the rows of a file, none if there is no such file; those that do not say their run are left out.

    Raises:
        BadInput: this is not such a file.
    """
    if not path.exists():
        return []
    try:
        documents: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return [_recorded(each) for each in documents if "run" in each]
    except (ValueError, TypeError) as error:
        raise BadInput(f"{path} has no rows of the bench in it: {error}") from error


def _recorded(document: Mapping[str, Any]) -> Recorded:
    values = dict(document)
    run = Run(**values.pop("run"))
    return Recorded(Row(**values), run)
