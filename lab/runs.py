"""The first and the last events of a run: what was tested, where, and how it ended."""

from __future__ import annotations

import hashlib
import json
import platform
import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from lab.ledger import EventKind, Ledger, utc_now
from lab.requirements import CATALOGUE_FILE
from lab.topology.facts import Facts
from lab.topology.model import Topology

LEDGER_FILE = "ledger.jsonl"
JUNIT_FILE = "junit.xml"
ALLURE_FOLDER = "allure-results"
CATALOGUE_COPY = "requirements.yaml"
TOPOLOGY_COPY = "topology.yaml"
SENSITIVITY_FILE = "sensitivity.json"
"""In the lab's home: the last result of ``lab sensitivity``; it holds for one build of the stack."""
REFERENCE = "reference"
"""The adapter of the lab's own stack."""
_ACTOR = "recovery-lab"


def new_run_directory(parent: Path, topology_name: str) -> Path:
    """Make and return a folder for a run; its name sorts by time."""
    stamp = utc_now()[:19].replace(":", "").replace("-", "")
    folder = parent / f"{stamp}-{topology_name}"
    folder.mkdir(parents=True)
    return folder


def start_run(run_dir: Path, topology: Topology, facts: Facts) -> Ledger:
    """Open the ledger of a run and record what is tested and on what; keep the catalogue and the topology beside it."""
    shutil.copyfile(CATALOGUE_FILE, run_dir / CATALOGUE_COPY)
    shutil.copyfile(topology.source, run_dir / TOPOLOGY_COPY)
    ledger = Ledger(run_dir / LEDGER_FILE)
    content = topology.model_dump(mode="json", by_alias=True)
    about = {
        "run": run_dir.name,
        "harness": version("recovery-lab"),
        "scenario": topology.scenario.value,
        "topology": topology.name,
        "topology_digest": topology.digest,
        "description": topology.description,
        "stack": topology.stack.adapter,
        "build": stack_build() if is_reference(topology) else "",
        "stand_ins": [stand_in.model_dump(mode="json") for stand_in in topology.every_stand_in],
        "policies": content["stack"]["policies"],
    }
    ledger.record(EventKind.RUN_STARTED, _ACTOR, f"run of {topology.name} started", about)
    ledger.record(EventKind.ENVIRONMENT, _ACTOR, "machine that runs the lab", environment(facts))
    return ledger


def is_reference(topology: Topology) -> bool:
    """Whether the stack under test is the reference stack, whose sources are here."""
    return topology.stack.adapter == REFERENCE


def stack_build() -> str:
    """Return the SHA-256 of the reference stack's sources: two builds with the same one behave the same."""
    return sources_digest(Path(__file__).parent / "replication")


def sources_digest(*folders: Path) -> str:
    """Return the SHA-256 of all files below some folders, compiled ones left out."""
    digest = hashlib.sha256()
    for folder in folders:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
            name = path.relative_to(folder).as_posix().encode()
            digest.update(hashlib.sha256(name).digest() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def record_sensitivity(ledger: Ledger, home: Path) -> bool:
    """Record the last result of ``lab sensitivity`` if it is of this build of the stack; return whether it is."""
    try:
        found = json.loads((home / SENSITIVITY_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(found, dict) or found.get("stack") != stack_build():
        return False
    ledger.record(EventKind.SENSITIVITY, _ACTOR, "what seeded defects showed about this build", found)
    return True


def end_run(ledger: Ledger, exit_code: int) -> None:
    """Record that the run came to its end; ``exit_code`` is pytest's."""
    ledger.record(EventKind.RUN_ENDED, _ACTOR, f"run ended with exit code {exit_code}", {"exit_code": exit_code})


def environment(facts: Facts) -> dict[str, object]:
    """Return what a reader has to know about the machine to judge the numbers."""
    found = asdict(facts.acceleration)
    return {
        "cores": facts.cores,
        "memory_bytes": facts.memory_bytes,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "acceleration": found["acceleration"],
        "acceleration_reason": found["reason"],
        "libvirt": {fact.uri: fact.detail for fact in facts.libvirt},
    }
