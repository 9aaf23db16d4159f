"""The first and the last events of a run: what was tested, where, and how it ended."""

from __future__ import annotations

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
CATALOGUE_COPY = "requirements.yaml"
TOPOLOGY_COPY = "topology.yaml"
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
        "stand_ins": content["stand_ins"],
        "policies": content["stack"]["policies"],
    }
    ledger.record(EventKind.RUN_STARTED, _ACTOR, f"run of {topology.name} started", about)
    ledger.record(EventKind.ENVIRONMENT, _ACTOR, "machine that runs the lab", environment(facts))
    return ledger


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
