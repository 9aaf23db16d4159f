import json
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_samples import a_measurement, a_run, a_test

from lab.requirements import load_catalogue
from lab.topology.scenario import Scenario
from reports.fold import fold
from reports.html import render
from reports.model import Certificate, Status, Verdict

CATALOGUE = load_catalogue()
SOME_IDS = ("V2A-PORT-9443", "V2S-DELTA", "LAB-RPO", "H2S-RR")
results = st.lists(
    st.tuples(
        st.sampled_from(["passed", "failed", "error", "skipped"]), st.lists(st.sampled_from(SOME_IDS), unique=True)
    )
)


def status(certificate: Certificate, name: str) -> Status:
    return next(item.status for item in certificate.requirements if item.id == name)


def test_a_clean_run_passes_and_counts_what_was_not_run() -> None:
    certificate = fold(a_run(a_test("a", "passed", "V2A-PORT-9443")), CATALOGUE)
    assert certificate.verdict is Verdict.PASS
    assert status(certificate, "V2A-PORT-9443") is Status.PASS
    scenario = certificate.scenarios["P2S"]
    assert (scenario.passed, scenario.failed) == (1, 0)
    assert scenario.not_run == scenario.requirements - 1 == len(CATALOGUE.for_scenario(Scenario.P2S)) - 1


def test_one_failed_test_outweighs_any_number_of_passed_ones() -> None:
    tests = [a_test(str(number), "passed", "V2S-DELTA") for number in range(5)]
    certificate = fold(a_run(*tests, a_test("bad", "failed", "V2S-DELTA"), exit_code=1), CATALOGUE)
    assert certificate.verdict is Verdict.FAIL
    assert status(certificate, "V2S-DELTA") is Status.FAIL


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ([], "which scenario"),
        (a_run(a_test("a", "passed"), exit_code=None), "did not come to its end"),
        (a_run(), "no test passed"),
        (a_run(a_test("a", "skipped", "V2S-DELTA")), "no test passed"),
        (a_run(a_test("a", "passed"), exit_code=2), "exit code 2"),
    ],
)
def test_what_shows_too_little_is_incomplete(events: list, reason: str) -> None:
    certificate = fold(events, CATALOGUE)
    assert certificate.verdict is Verdict.INCOMPLETE
    assert any(reason in line for line in certificate.reasons)


def test_problems_around_the_ledger_keep_it_from_passing() -> None:
    certificate = fold(a_run(a_test("a", "passed")), CATALOGUE, ["evidence was changed: x"])
    assert certificate.verdict is Verdict.INCOMPLETE


@given(results=results, ended=st.booleans())
def test_no_rule_passes_without_a_passed_test_and_none_that_failed(results: list, ended: bool) -> None:
    tests = [a_test(str(number), outcome, *ids) for number, (outcome, ids) in enumerate(results)]
    certificate = fold(a_run(*tests, exit_code=0 if ended else None), CATALOGUE)
    outcomes = {outcome for outcome, _ in results}
    assert (certificate.verdict is Verdict.PASS) == (
        ended and "passed" in outcomes and not outcomes & {"failed", "error"}
    )
    for item in certificate.requirements:
        mine = {outcome for outcome, ids in results if item.id in ids}
        if item.status is Status.PASS:
            assert "passed" in mine
            assert not mine & {"failed", "error"}
        assert (item.status is Status.NOT_RUN) == (not mine & {"passed", "failed", "error"})


def test_a_run_says_nothing_of_rules_of_other_scenarios() -> None:
    """A test of several scenarios passed over physical servers: that is no word about hosts."""
    certificate = fold(a_run(a_test("a", "passed", "H2S-RR")), CATALOGUE)
    assert "H2S-RR" not in {item.id for item in certificate.requirements}
    assert certificate.scenarios["P2S"].passed == 0


def test_adopted_rules_say_that_they_are() -> None:
    certificate = fold(a_run(), CATALOGUE)
    row = next(item for item in certificate.requirements if item.id == "V2A-PORT-9443")
    assert "adopted by decision C12" in row.source


def test_the_page_is_self_contained_escaped_and_repeatable() -> None:
    events = a_run(
        a_test("<script>alert(1)</script>", "failed", "V2S-DELTA"),
        a_measurement("rpo", 3.2, "s", {"machine": "<app1>"}),
        a_measurement("rpo", 5.1, "s", "app2 & all"),
        a_measurement("lag", 4, "s", "app1", samples=[[0, 1], [1, 4]]),
    )
    page = render(fold(events, CATALOGUE))
    assert page == render(fold(events, CATALOGUE))
    assert "<script" not in page
    assert "<app1>" not in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page
    assert page.count("<svg") == 2
    for words in ("Failed", "physical server", "not their absence", "Lab certificate by recovery-lab", "5.1"):
        assert words in page


def test_the_json_has_its_keys() -> None:
    content = json.loads(json.dumps(asdict(fold(a_run(a_test("a", "passed", "LAB-RPO")), CATALOGUE))))
    wanted = {
        "verdict",
        "scenarios",
        "requirements",
        "stand_ins",
        "measurements",
        "environment",
        "topology_digest",
        "run",
        "limits",
    }
    assert wanted <= set(content)
    assert {"id", "level", "rule", "source", "status", "tests", "evidence"} <= set(content["requirements"][0])
