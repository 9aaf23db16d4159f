"""The suites on a lab whose stack has a defect: a whole run from a changed copy of the project.

The copy is what is installed in the machines and what runs as fabric and vault on this host; nothing has a hook for it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.defects.model import Defect
from lab.defects.patching import copy_with
from lab.defects.probing import Probed
from lab.errors import LabError

RUN_SECONDS = 4 * 3600.0


def run_on_lab(topology: Path, defect: Defect | None) -> Probed:
    """Run the suites of a topology on a lab with a defect; what its failed tests said.

    Raises:
        LabError: the run made no certificate: then nothing can be said about the defect.
    """
    with tempfile.TemporaryDirectory(prefix="recovery-lab-defect-") as scratch:
        project, out = Path(scratch, "project"), Path(scratch, "out")
        copy_with(defect, project)
        # Runs of broken stacks are no part of the stack's history.
        environment = {
            **os.environ,
            "PYTHONPATH": str(project),
            "RECOVERY_LAB_HISTORY": f"sqlite:///{scratch}/history.sqlite",
        }
        words = ["-c", "from lab.cli import main; main()", "run", "--fresh", str(topology.resolve())]
        # A stack that is used once is not worth to be saved.
        command = [sys.executable, *words, "--out", str(out), "--name", "sensitivity"]
        ended = subprocess.run(command, cwd=project, env=environment, timeout=RUN_SECONDS, check=False)
        certificate = out / "latest" / "certificate.json"
        if not certificate.is_file():
            name = defect.name if defect else "the stack without a defect"
            raise LabError(f"{name}: the run ended with exit code {ended.returncode} and without a certificate")
        return probed_of(defect, json.loads(certificate.read_text(encoding="utf-8")))


def probed_of(defect: Defect | None, certificate: dict[str, object]) -> Probed:
    """Return what the tests of a run said. A test that was skipped said nothing."""
    results: dict[str, str] = {}
    requirements: dict[str, tuple[str, ...]] = {}
    tests = certificate["tests"]
    for test in tests if isinstance(tests, list) else ():
        if test["outcome"] == "skipped":
            continue
        last = (test["message"].strip().splitlines() or [test["outcome"]])[-1]
        results[test["nodeid"]] = last if test["outcome"] in {"failed", "error"} else ""
        requirements[test["nodeid"]] = tuple(test["requirements"])
    return Probed(defect.name if defect else None, results, requirements)
