"""The chapters beyond the matrix: only what events say, and nothing without events."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from run_samples import FACTS, a_measurement, a_run, a_test

from lab.ledger import Event, EventKind, Ledger, read_ledger
from lab.requirements import Catalogue, Requirement, load_catalogue
from lab.runs import SENSITIVITY_FILE, record_sensitivity, stack_build, start_run
from lab.topology.load import load_topology
from reports.fold import fold
from reports.html import beside, left_out, render, why_not_run
from reports.model import Certificate

CATALOGUE = load_catalogue()
FOUND = {
    "stack": "b" * 64,
    "how": "probes of its parts in one process",
    "clean": {"runs": 5, "false_alarms": {}},
    "defects": [
        {"name": "n", "part": "wire", "requirements": ["LAB-RPO"], "ran": True, "caught": True, "equivalent": False},
        {"name": "e", "part": "wire", "requirements": ["LAB-RPO"], "ran": True, "caught": False, "equivalent": True},
        {"name": "m", "part": "group", "requirements": ["LAB-RTO"], "ran": False, "caught": False, "equivalent": False},
    ],
    "proven": {"LAB-RPO": ["n"]},
    "why_unproven": {"LAB-RTO": "m: needs a lab, on which it was not tried"},
}
STEPS = [
    {"name": "drain", "state": "done", "started_ns": 5 * 10**9, "ended_ns": 7 * 10**9},
    {"name": "start", "state": "failed", "started_ns": 7 * 10**9, "ended_ns": None},
]


def an_event(kind: EventKind, **data: object) -> Event:
    return Event(kind, "2026-11-24T12:00:00.000000000Z", "suites/ports.py::test", "seen", data)


def a_proof(test: str, *, sound: bool) -> Event:
    window = {"machine": 0, "begin_ns": 0, "end_ns": 1_500_000, "begin_lane": 0, "end_lane": 1}
    return an_event(
        EventKind.PROOF,
        test=f"suites/{test}",
        sound=sound,
        rules=[] if sound else ["label"],
        checks=["A", "D"],
        epoch=1,
        cut=[12, 13],
        windows=[window],
        clock_error_ns=1000,
        label_error_ns=None,
    )


@pytest.fixture
def certificate() -> Certificate:
    ports = {"machine": "mt1", "expected": [22], "observed": [22, 111]}
    return fold(
        a_run(
            an_event(EventKind.SENSITIVITY, **FOUND),
            a_test("good", "passed", "LAB-RPO"),
            a_test("control", "passed", "LAB-NEGATIVE-CONTROL"),
            a_test("bad", "failed", "LAB-WRITE-ORDER"),
            an_event(EventKind.PORTS, **ports),
            a_proof("good", sound=True),
            a_proof("control", sound=False),
            a_proof("bad", sound=False),
            an_event(EventKind.TIMELINE, what="failover of <app1>", steps=STEPS, answered_s=9.5),
        ),
        CATALOGUE,
    )


def test_a_rule_is_proven_unproven_or_not_known(certificate: Certificate) -> None:
    by_id = {item.id: item for item in certificate.requirements}
    assert by_id["LAB-RPO"].proven_by == ("n",)
    assert (by_id["LAB-RTO"].unproven, by_id["LAB-RPO"].unproven) == (True, False)
    assert FOUND["why_unproven"]["LAB-RTO"] == by_id["LAB-RTO"].why_unproven
    assert f"<td>{by_id['LAB-RTO'].why_unproven}</td>" in render(certificate)
    without = fold(a_run(a_test("good", "passed", "LAB-RPO")), CATALOGUE)
    assert without.requirements[0].proven_by is None
    assert not without.requirements[0].unproven
    assert without.verdict == "pass", "a column is no verdict"


def test_ports_that_are_open_and_should_not_be_differ(certificate: Certificate) -> None:
    [row] = certificate.ports
    assert not row.agrees


def test_an_unsound_copy_is_a_control_only_if_its_test_passed(certificate: Certificate) -> None:
    assert [(proof.sound, proof.control) for proof in certificate.proofs] == [
        (True, False),
        (False, True),
        (False, False),
    ]


def test_steps_count_from_the_first(certificate: Certificate) -> None:
    [timeline] = certificate.timelines
    assert [(step.began_s, step.ended_s) for step in timeline.steps] == [(0.0, 2.0), (2.0, None)]


def test_the_page_has_these_chapters_and_a_run_without_events_has_not(certificate: Certificate) -> None:
    page = render(certificate)
    for chapter in ("Sensitivity", "Ports", "Consistency", "Failovers", "Deviations"):
        assert f"<h2>{chapter}</h2>" in page
    assert "failover of &lt;app1&gt;" in page
    assert "<app1>" not in page
    assert render(certificate) == page
    bare = render(fold(a_run(a_test("good", "passed", "LAB-RPO")), CATALOGUE))
    assert "<h2>Sensitivity</h2>" not in bare
    assert "<h2>Ports</h2>" not in bare


def test_rates_are_drawn_beside_the_bare_path_only_if_both_are_there() -> None:
    def measured(*names: str) -> Certificate:
        return fold(a_run(*(a_measurement(name, 9.0, "MB/s", "app1") for name in names)), CATALOGUE)

    assert beside(measured("baseline-rate", "initial-replication-rate").measurements)
    assert beside(measured("baseline-rate").measurements) is None


def test_only_a_result_of_this_build_is_recorded(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert not record_sensitivity(ledger, tmp_path)
    (tmp_path / SENSITIVITY_FILE).write_text(json.dumps({**FOUND, "stack": "another"}))
    assert not record_sensitivity(ledger, tmp_path)
    (tmp_path / SENSITIVITY_FILE).write_text(json.dumps({**FOUND, "stack": stack_build()}))
    assert record_sensitivity(ledger, tmp_path)
    assert [event.kind for event in read_ledger(ledger.path)] == [EventKind.SENSITIVITY]


def test_a_pdf_is_made_and_fetches_nothing() -> None:
    pytest.importorskip("weasyprint", exc_type=OSError)
    from reports.pdf import pdf_of

    made = pdf_of("<title>t</title><img src='http://127.0.0.1:9/x.png'><p>text</p>")
    assert made.startswith(b"%PDF-")
    assert pdf_of("<p>text</p>") == pdf_of("<p>text</p>")


def test_the_certificate_says_why_nobody_has_written_a_test_of_a_rule() -> None:
    events = [an_event(EventKind.RUN_STARTED, scenario="H2S"), a_test("good", "passed", "H2S-AUTH-CERT")]
    subjects = tuple(
        subject.model_copy(update={"requirements": tuple(untested(item) for item in subject.requirements)})
        for subject in CATALOGUE.subjects
    )
    catalogue = Catalogue(subjects=subjects, decisions=CATALOGUE.decisions)
    (reason,) = why_not_run(fold(events, catalogue))["H2S-AUTH-KRB"]
    assert reason == "nobody has built it"


def untested(item: Requirement) -> Requirement:
    return item.model_copy(update={"not_tested": "nobody has built it"}) if item.id == "H2S-AUTH-KRB" else item


LACKS = {"recovery points": "it keeps <one> state"}
LEFT_OUT = [
    {
        "nodeid": "suites/a.py::points",
        "reason": "stack drbd: it keeps <one>",
        "requirements": ["LAB-POINT-ORDER"],
    },
    {"nodeid": "suites/a.py::rpo", "reason": "no machine is replicated to Azure", "requirements": ["LAB-RPO"]},
    {"nodeid": "suites/a.py::mt", "reason": "no machine is behind a BMC", "requirements": ["V2S-MT-SECONDARY"]},
    {"nodeid": "", "reason": "stack drbd: it has no servers", "requirements": ["V2S-MT-SECONDARY"]},
]


def test_what_a_stack_cannot_do_is_said_and_is_the_reason_of_rules_that_were_not_run() -> None:
    events = a_run(
        an_event(EventKind.STACK, lacks=LACKS),
        an_event(EventKind.LEFT_OUT, tests=LEFT_OUT),
        a_test("good", "passed", "LAB-RPO"),
    )
    certificate = fold(events, CATALOGUE)
    assert certificate.lacks == (("recovery points", "it keeps <one> state"),)
    reasons = why_not_run(certificate)
    assert reasons["LAB-POINT-ORDER"] == ["stack drbd: it keeps <one>"]
    assert reasons["V2S-MT-SECONDARY"] == ["stack drbd: it has no servers"]
    assert reasons["LAB-RTO"] == [], "no test of it was left out"
    assert "LAB-RPO" not in reasons, "it was shown by another test"
    assert [tests for _, tests in left_out(certificate.left_out)] == [
        ["suites/a.py::mt"], ["suites/a.py::rpo"], ["suites/a.py::points"],
    ]  # fmt: skip
    page = render(certificate)
    assert "<h2>What the stack does not do</h2>" in page
    assert "it keeps &lt;one&gt; state" in page
    assert "<one>" not in page
    assert "3 tests that this topology, or its stack, cannot serve" in page
    bare = render(fold(a_run(a_test("good", "passed", "LAB-RPO")), CATALOGUE))
    assert "does not do" not in bare
    assert "Tests left out" not in bare


def test_another_stack_has_neither_the_references_build_nor_its_sensitivity(tmp_path: Path) -> None:
    for name, build in (("embedded", stack_build()), ("drbd", "")):
        topology = load_topology(Path(__file__).parents[2] / "topologies" / f"{name}.yaml")
        (tmp_path / name).mkdir()
        start_run(tmp_path / name, topology, FACTS)
        assert read_ledger(tmp_path / name / "ledger.jsonl")[0].data["build"] == build
