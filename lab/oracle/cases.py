"""Judged copies kept as files, so that anyone can judge them again: ``NUMBER/`` below a run's folder ``oracle``.

``case.json`` has the group, the copy as scanned and the claim; ``history-MACHINE.gz`` the witness's lines up to the
moment of judging; ``verdict.json`` what was found. The same files always give the same verdict, byte for byte.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from array import array
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lab.oracle.checks.instants import Label
from lab.oracle.findings import Verdict
from lab.oracle.group import Group, Member
from lab.oracle.history import HistoryDamaged
from lab.oracle.judge import Claim, StoredHistory, judge
from lab.oracle.scan import Copy, Damage, LaneCopy, NewestHot, Run

FOLDER = "oracle"
CASE, VERDICT = "case.json", "verdict.json"


class CaseDamaged(ValueError):
    """The files are not those of a judged copy."""


class CaseStore:
    """Keeps what is judged during a run. Cases are numbered in the order in which they are judged."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def judge(self, copy: Copy, history: StoredHistory, claim: Claim | None = None) -> Verdict:
        """Judge a copy by the history as it is now, and keep both with the verdict. Raises HistoryDamaged."""
        claim = claim or Claim()
        place = self._next()
        paths = {machine: place / f"history-{machine}" for machine in history.paths}
        for machine, path in history.paths.items():
            shutil.copyfile(path, paths[machine])  # the witness goes on writing to its own file
        verdict = judge(copy, history.group, StoredHistory(history.group, paths), claim)
        (place / CASE).write_text(_as_json(history.group, copy, claim), encoding="utf-8")
        (place / VERDICT).write_text(verdict.as_json(), encoding="utf-8")
        for path in paths.values():
            _pack(path)
        return verdict

    def _next(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        place = self._folder / f"{len(list(self._folder.iterdir())) + 1:03}"
        place.mkdir()
        return place


def judge_again(place: Path) -> str:
    """Return the verdict on a kept case as ``verdict.json`` has it, from copy, claim and raw histories alone.

    Raises:
        CaseDamaged: a file is missing or is not what was kept.
    """
    try:
        group, copy, claim = _read(json.loads((place / CASE).read_text(encoding="utf-8")))
        with tempfile.TemporaryDirectory(prefix="recovery-lab-case-") as scratch:
            history = StoredHistory(group, _unpacked(place, Path(scratch)))
            return judge(copy, group, history, claim).as_json()
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError, IndexError, HistoryDamaged) as error:
        raise CaseDamaged(f"{type(error).__name__}: {error}") from error


def cases_in(run_dir: Path) -> list[Path]:
    """Return the kept cases of a run, in order."""
    folder = run_dir / FOLDER
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _as_json(group: Group, copy: Copy, claim: Claim) -> str:
    """``default`` is for the arrays of a copy: lists of numbers."""
    content = {"group": asdict(group), "copy": asdict(copy), "claim": asdict(claim)}
    return json.dumps(content, default=list, separators=(",", ":"))


def _read(content: Mapping[str, Any]) -> tuple[Group, Copy, Claim]:
    raw = dict(content["group"])
    members = tuple(Member(**{**member, "volumes": tuple(member["volumes"])}) for member in raw.pop("members"))
    lanes = {int(lane): _lane(held) for lane, held in content["copy"]["lanes"].items()}
    copy = Copy(lanes, [Damage(**item) for item in content["copy"]["damage"]])
    claim = dict(content["claim"])
    label = Label(**claim["label"]) if claim["label"] is not None else None
    failed_at = {int(machine): int(at) for machine, at in claim["failed_at"].items()}
    return Group(members=members, **raw), copy, Claim(**{**claim, "label": label, "failed_at": failed_at})


def _lane(held: Mapping[str, Any]) -> LaneCopy:
    newest = held["newest_hot"]
    return LaneCopy(
        [Run(**{**run, "clock": tuple(run["clock"])}) for run in held["runs"]],
        array("q", held["hot"]),
        array("q", held["hot_epochs"]),
        None if newest is None else NewestHot(**{**newest, "clock": tuple(newest["clock"])}),
        int(held["blank"]),
    )


def _pack(path: Path) -> None:
    target = path.with_name(f"{path.name}.gz")
    with path.open("rb") as plain, gzip.GzipFile(target, "wb", 6, mtime=0) as packed:
        shutil.copyfileobj(plain, packed)
    path.unlink()


def _unpacked(place: Path, scratch: Path) -> dict[int, Path]:
    paths = {}
    for packed in sorted(place.glob("history-*.gz")):
        machine = int(packed.name.removeprefix("history-").removesuffix(".gz"))
        paths[machine] = scratch / str(machine)
        with gzip.open(packed, "rb") as source, paths[machine].open("wb") as target:
            shutil.copyfileobj(source, target)
    return paths
