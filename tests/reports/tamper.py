"""Ways to tamper with the folder of a run, from clumsy to careful. Each returns the file that has to be named."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from sealed_run import events_of, rewrite_ledger

from reports.bundle.seal import SEAL_FILE
from reports.certificate import catalogue_of, write_certificate

Tamper = Callable[[Path, random.Random], str]


def some_file(run_dir: Path, rng: random.Random) -> Path:
    return rng.choice(sorted(path for path in run_dir.rglob("*") if path.is_file()))


def change_a_byte(run_dir: Path, rng: random.Random) -> str:
    path = some_file(run_dir, rng)
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return name(run_dir, path)


def cut_short(run_dir: Path, rng: random.Random) -> str:
    path = some_file(run_dir, rng)
    path.write_bytes(path.read_bytes()[: -rng.randint(1, 9)])
    return name(run_dir, path)


def remove(run_dir: Path, rng: random.Random) -> str:
    path = some_file(run_dir, rng)
    path.unlink()
    return name(run_dir, path)


def add(run_dir: Path, rng: random.Random) -> str:
    path = run_dir / "evidence" / f"{rng.getrandbits(32):08x}-verdict.json"
    path.write_text('{"sound": true}')
    return name(run_dir, path)


def swap_contents(run_dir: Path, rng: random.Random) -> str:
    one, two = rng.sample(sorted(run_dir.rglob("*-result.json")), 2)
    before = one.read_bytes(), two.read_bytes()
    one.write_bytes(before[1])
    two.write_bytes(before[0])
    return name(run_dir, one)


def edit_a_result(run_dir: Path, rng: random.Random) -> str:
    """Make a failed test pass, in a ledger whose chain is whole, and the certificate that follows from it."""
    events = events_of(run_dir)
    for event in events:
        if event["kind"] == "test" and event["data"]["outcome"] == "failed":
            event["data"] = {**event["data"], "outcome": "passed"}
        if event["kind"] == "run-ended":
            event["data"] = {"exit_code": 0}
    return forged_ledger(run_dir, events)


def remove_a_test(run_dir: Path, rng: random.Random) -> str:
    events = events_of(run_dir)
    events.remove(rng.choice([event for event in events if event["kind"] == "test"]))
    return forged_ledger(run_dir, events)


def add_a_test(run_dir: Path, rng: random.Random) -> str:
    events = events_of(run_dir)
    model = rng.choice([event for event in events if event["kind"] == "test"])
    data = {**model["data"], "nodeid": "suites/x.py::test_more", "outcome": "passed", "requirements": ["LAB-RTO"]}
    events.insert(-1, {**model, "data": data})
    return forged_ledger(run_dir, events)


def edit_both_certificates(run_dir: Path, rng: random.Random) -> str:
    """Edit ``certificate.json`` and make ``certificate.html`` say the same: from a ledger that is then put back."""
    ledger = (run_dir / "ledger.jsonl").read_bytes()
    rng.choice([edit_a_result, remove_a_test, edit_a_measurement])(run_dir, rng)
    (run_dir / "ledger.jsonl").write_bytes(ledger)
    return "certificate.json"


def edit_a_measurement(run_dir: Path, rng: random.Random) -> str:
    events = events_of(run_dir)
    for event in events:
        if event["kind"] == "measurement":
            event["data"] = {**event["data"], "value": event["data"]["value"] / rng.randint(2, 9)}
    return forged_ledger(run_dir, events)


def edit_a_verdict(run_dir: Path, rng: random.Random) -> str:
    """Make the oracle's verdict on an unsound copy sound."""
    path = next(path for path in sorted(run_dir.glob("oracle/*/verdict.json")) if '"sound": false' in path.read_text())
    path.write_text(json.dumps({**json.loads(path.read_text()), "sound": True, "findings": []}, sort_keys=True))
    return name(run_dir, path)


def edit_a_history(run_dir: Path, rng: random.Random) -> str:
    path = rng.choice(sorted(run_dir.glob("oracle/*/case.json")))
    content = json.loads(path.read_text())
    run = rng.choice([run for lane in content["copy"]["lanes"].values() for run in lane["runs"]])
    run["last"] -= 1
    path.write_text(json.dumps(content, separators=(",", ":")))
    return name(run_dir, path)


def forged_ledger(run_dir: Path, events: list) -> str:
    rewrite_ledger(run_dir, events)
    write_certificate(run_dir, catalogue_of(run_dir))
    return "ledger.jsonl"


def name(run_dir: Path, path: Path) -> str:
    return path.relative_to(run_dir).as_posix()


FILES: tuple[Tamper, ...] = (change_a_byte, cut_short, remove, add, swap_contents)
CONTENTS: tuple[Tamper, ...] = (
    edit_a_result,
    remove_a_test,
    add_a_test,
    edit_both_certificates,
    edit_a_measurement,
    edit_a_verdict,
    edit_a_history,
)
FOUND_UNDER_ANY_KEY: tuple[Tamper, ...] = (
    edit_a_result,
    remove_a_test,
    add_a_test,
    edit_both_certificates,
    edit_a_verdict,
    edit_a_history,
)
"""What contradicts other raw data of the run, so that not even a new signature hides it."""
SEAL = SEAL_FILE
