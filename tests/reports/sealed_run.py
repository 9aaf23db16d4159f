"""A whole run's folder, made by the parts that a real run uses: ledger, evidence, judged copies, certificate, seal."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from run_samples import FACTS

from lab.ledger import EventKind, Ledger, read_ledger
from lab.oracle.cases import FOLDER, CaseStore
from lab.oracle.judge import StoredHistory
from lab.oracle.trials.images import copy_of
from lab.oracle.trials.mutants import dropped, sound_scene
from lab.oracle.trials.simulation import simulate, simulated_group
from lab.runs import end_run, start_run
from lab.topology.load import load_topology
from reports.bundle.recompute import _junit_name
from reports.bundle.seal import seal
from reports.certificate import catalogue_of, write_certificate
from reports.evidence import EvidenceRecorder
from tests.oracle.tell import write_histories

TOPOLOGY = Path(__file__).parents[2] / "topologies" / "embedded.yaml"
TESTS = (
    ("suites/ports/test_flows.py::test_listeners", "passed", ["V2A-PORT-9443"]),
    ("suites/ports/test_flows.py::test_listeners[mt1]", "passed", ["V2A-PORT-443-MGMT"]),
    ("suites/delta_replication/test_deltas.py::TestDelta::test_equal", "passed", ["V2S-DELTA"]),
    ("suites/failover/test_unplanned_failover.py::test_loss", "failed", ["LAB-RPO"]),
    ("suites/failover/test_unplanned_failover.py::test_order", "passed", ["LAB-WRITE-ORDER"]),
    ("suites/groups/test_shared_points.py::test_group", "skipped", ["V2A-MVM-CRASH"]),
)


def sealed_run(parent: Path, key: Ed25519PrivateKey) -> Path:
    """Make the folder of a run that failed one test, and seal it."""
    run_dir = parent / "20261128T120000-embedded"
    run_dir.mkdir()
    ledger = start_run(run_dir, load_topology(TOPOLOGY), FACTS)
    verdicts = judged_copies(run_dir, parent)
    for number, (nodeid, outcome, requirements) in enumerate(TESTS):
        record_test(ledger, run_dir, (nodeid, outcome, requirements), verdicts[number % len(verdicts)])
    number = {"name": "rpo", "value": 12.5, "unit": "s", "n": 1, "context": "app1", "samples": []}
    ledger.record(EventKind.MEASUREMENT, "suite", "rpo measured", number)
    end_run(ledger, 1)
    write_junit(run_dir)
    write_allure(run_dir)
    console = run_dir / "machines" / "app1" / "console.log"
    console.parent.mkdir(parents=True)
    console.write_text("[    0.0] Linux\n" * 40)
    finish(run_dir, key)
    return run_dir


def finish(run_dir: Path, key: Ed25519PrivateKey) -> None:
    """Make certificate and seal, as the end of a run does."""
    seal(run_dir, write_certificate(run_dir, catalogue_of(run_dir)), key)


def judged_copies(run_dir: Path, scratch: Path) -> list[str]:
    """Judge a sound copy, and one that lacks a write; return what was found."""
    world = simulate(3, simulated_group(machines=2, volumes=1), 240)
    scene = sound_scene(world, random.Random(3))
    told = scratch / "witness"
    told.mkdir()
    history = StoredHistory(world.group, write_histories(world, told))
    store = CaseStore(run_dir / FOLDER)
    images = (scene.image, dropped(log=True)(scene).image)
    verdicts = [store.judge(copy_of(image), history) for image in images]
    assert [verdict.sound for verdict in verdicts] == [True, False]
    return [verdict.as_json() for verdict in verdicts]


def record_test(ledger: Ledger, run_dir: Path, test: tuple[str, str, Sequence[str]], verdict: str) -> None:
    nodeid, outcome, requirements = test
    properties: list[tuple[str, Any]] = []
    if "order" in nodeid or "loss" in nodeid:
        EvidenceRecorder(run_dir, properties).attach("verdict.json", verdict)
    data = {
        "nodeid": nodeid,
        "outcome": outcome,
        "duration": 1.0,
        "requirements": requirements,
        "evidence": [value for _, value in properties],
        "message": "",
    }
    ledger.record(EventKind.TEST, "pytest", f"{nodeid}: {outcome}", data)


def write_junit(run_dir: Path) -> None:
    suite = ET.Element("testsuite", failures="1", errors="0")
    for nodeid, outcome, _ in TESTS:
        classname, _, name = _junit_name(nodeid).rpartition("::")
        case = ET.SubElement(suite, "testcase", classname=classname, name=name)
        if outcome != "passed":
            ET.SubElement(case, {"failed": "failure"}.get(outcome, outcome))
    root = ET.Element("testsuites")
    root.append(suite)
    ET.ElementTree(root).write(run_dir / "junit.xml")


def write_allure(run_dir: Path) -> None:
    folder = run_dir / "allure-results"
    folder.mkdir()
    for number, (nodeid, outcome, _) in enumerate(TESTS):
        (folder / f"{number}-result.json").write_text(json.dumps({"fullName": nodeid, "status": outcome}))


def rewrite_ledger(run_dir: Path, events: Sequence[Mapping[str, Any]]) -> None:
    """Write a ledger whose chain is whole: what a careful forger does."""
    path = run_dir / "ledger.jsonl"
    path.unlink()
    ledger = Ledger(path)
    for event in events:
        ledger.record(EventKind(event["kind"]), event["who"], event["what"], event["data"], event["evidence"])


def events_of(run_dir: Path) -> list[dict[str, Any]]:
    return [vars(event) | {"kind": event.kind.value} for event in read_ledger(run_dir / "ledger.jsonl")]
