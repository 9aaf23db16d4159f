"""The suites on a lab whose stack has a defect: runs from changed copies of the project.

A copy is what is installed in the machines and what runs as fabric and vault on this host; nothing has a hook for it.
The clean run leaves a saved lab, from which those with a defect go on with their build installed over the clean one.
Only tests of the rules that a defect breaks run, with those that they go on from, until one of them fails.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.defects.model import Defect
from lab.defects.patching import copy_with
from lab.defects.probing import Probed
from lab.errors import LabError
from lab.interrupts import pass_on

RUN_SECONDS = 4 * 3600.0
COLLECT_SECONDS = 600.0
"""It takes five seconds on an idle computer."""
END_SECONDS = 300.0
LAB = "sensitivity"
_NOTHING_COLLECTED = 5


@dataclass(frozen=True)
class LabOrder:
    """One run: the defect to put in, the rules whose tests run (all when empty), whether to go on after a failure."""

    defect: Defect | None
    rules: tuple[str, ...]
    exhaustive: bool = False

    @property
    def name(self) -> str:
        """What a message calls it."""
        return self.defect.name if self.defect else "the stack without a defect"

    @property
    def suites(self) -> list[str]:
        """The words for pytest that choose tests."""
        chosen = [word for rule in self.rules for word in ("--requirement", rule)]
        return chosen if self.exhaustive or self.defect is None else [*chosen, "--exitfirst"]


def orders_on_lab(defects: Sequence[Defect], *, clean_runs: int, exhaustive: bool = False) -> list[LabOrder]:
    """Return clean runs of every test that any of the defects will be held against, and a run for each defect."""
    rules = tuple(dict.fromkeys(rule for item in defects for rule in item.requirements))
    return [LabOrder(None, rules)] * clean_runs + [LabOrder(item, item.requirements, exhaustive) for item in defects]


def run_on_lab(topology: Path, order: LabOrder) -> Probed:
    """Run the suites of an order on a lab; what its tests said.

    Raises:
        LabError: no test of the topology carries the rules, the lab did not come up, or there was no certificate: then
            nothing can be said about the defect.
    """
    with _copy(order.defect) as (project, scratch):
        environment = {
            **os.environ,
            "PYTHONPATH": str(project),
            # Runs of broken stacks are no part of the stack's history.
            "RECOVERY_LAB_HISTORY": f"sqlite:///{scratch}/history.sqlite",
        }
        _refuse_without_tests(project, topology, order, environment)
        words = [
            "-c",
            "from lab.cli import main; main()",
            "run",
            str(topology.resolve()),
            "--out",
            str(scratch / "out"),
        ]
        # A stack with a defect is not worth to be saved, and goes over one that was.
        origin = [] if order.defect is None else ["--reinstall"]
        command = [sys.executable, *words, "--name", LAB, *origin, *order.suites]
        began = time.monotonic()
        code = _ended(command, project, environment)
        took = time.monotonic() - began
        folder = scratch / "out" / "latest"
        if (folder / "not-up.txt").is_file():
            raise LabError(f"{order.name}: no lab: {(folder / 'not-up.txt').read_text(encoding='utf-8').strip()}")
        if not (folder / "certificate.json").is_file():
            raise LabError(f"{order.name}: the run ended with exit code {code} and without a certificate")
        return probed_of(order.defect, json.loads((folder / "certificate.json").read_text(encoding="utf-8")), took)


def _ended(command: Sequence[str], folder: Path, environment: Mapping[str, str]) -> int:
    """Run a program to its end and return its exit code; however it ends, it takes its lab down first.

    Raises:
        LabError: it did not end in time.
    """
    with subprocess.Popen(command, cwd=folder, env=environment) as child:
        try:
            return child.wait(RUN_SECONDS)
        except KeyboardInterrupt as end:
            pass_on(end, child)
            child.wait(END_SECONDS)
            raise
        except subprocess.TimeoutExpired as error:
            child.send_signal(signal.SIGINT)
            child.wait(END_SECONDS)
            raise LabError(f"a run did not end within {RUN_SECONDS:.0f} s") from error


@contextmanager
def _copy(defect: Defect | None) -> Iterator[tuple[Path, Path]]:
    """Yield a copy of the project with a defect, and a folder for what comes of it; both go at the end."""
    with tempfile.TemporaryDirectory(prefix="recovery-lab-defect-") as scratch:
        project = Path(scratch, "project")
        copy_with(defect, project)
        yield project, Path(scratch)


def _refuse_without_tests(project: Path, topology: Path, order: LabOrder, environment: dict[str, str]) -> None:
    """Raise LabError before a machine is made when no test could notice anything."""
    command = [sys.executable, "-m", "pytest", "suites", "--collect-only", "-q", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, "--topology", str(topology.resolve()), *order.suites],
        cwd=project,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COLLECT_SECONDS,
        check=False,
    )
    if found.returncode == _NOTHING_COLLECTED:
        raise LabError(f"{order.name}: no test on {topology.name} carries {', '.join(order.rules)}")
    if found.returncode:
        last = (found.stdout + found.stderr).strip().splitlines()[-1:]
        raise LabError(f"{order.name}: the suites cannot be collected: {' '.join(last)}")


def probed_of(defect: Defect | None, certificate: Mapping[str, Any], seconds: float = 0.0) -> Probed:
    """Return what the tests of a run said. A test that was skipped said nothing."""
    results: dict[str, str] = {}
    requirements: dict[str, tuple[str, ...]] = {}
    for test in certificate["tests"]:
        if test["outcome"] == "skipped":
            continue
        last = (test["message"].strip().splitlines() or [test["outcome"]])[-1]
        results[test["nodeid"]] = last if test["outcome"] in {"failed", "error"} else ""
        requirements[test["nodeid"]] = tuple(test["requirements"])
    return Probed(defect.name if defect else None, results, requirements, seconds=seconds)
