"""The plugin in real pytest runs, up to the certificate."""

import json
from pathlib import Path

import pytest
from run_samples import FACTS

from lab.errors import BadInput
from lab.ledger import EventKind, LedgerError, read_ledger
from lab.requirements import load_catalogue
from lab.runs import end_run, new_run_directory, start_run
from lab.topology.load import load_topology
from reports.allure import properties_of, write_allure_environment
from reports.bundle.recompute import recompute
from reports.certificate import catalogue_of, write_certificate
from reports.model import Verdict

pytest_plugins = ["pytester"]

SUITE = """
import pytest

@pytest.mark.requirement("V2A-PORT-9443", "LAB-RPO")
def test_good(evidence, record_measurement):
    evidence.attach("flows.json", "{}")
    record_measurement("rpo", 3.5, "s", context={"machine": "app1"})

@pytest.mark.requirement("V2S-DELTA")
def test_skipped():
    pytest.skip("no link")
"""
BAD = """
import pytest

@pytest.mark.requirement("V2S-DELTA")
def test_bad():
    assert 1 == 2

@pytest.fixture
def broken():
    raise RuntimeError("no lab")

@pytest.mark.requirement("V2S-PS-XFER")
def test_error(broken):
    pass

@pytest.fixture
def dirty():
    yield
    raise RuntimeError("left over")

@pytest.mark.requirement("V2S-MT-RECV")
def test_teardown(dirty):
    pass
"""


@pytest.fixture
def run_suite(pytester: pytest.Pytester, tmp_path: Path):
    topology = load_topology(Path(__file__).parents[2] / "topologies" / "embedded.yaml")
    run_dir = new_run_directory(tmp_path, topology.name)

    def run(suite: str, *arguments: str, ended: bool = True) -> Path:
        ledger = start_run(run_dir, topology, FACTS)
        pytester.makepyfile(suite)
        plugins = ("-p", "reports.plugin", "--run-dir", str(run_dir), f"--junitxml={run_dir}/junit.xml")
        result = pytester.runpytest_subprocess(*plugins, "-p", "no:cacheprovider", *arguments)
        if ended:
            end_run(ledger, int(result.ret))
        return run_dir

    return run


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "xdist"])
def test_a_run_becomes_a_certificate(run_suite, workers: tuple[str, ...]) -> None:
    run_dir = run_suite(SUITE, *workers)
    certificate = write_certificate(run_dir, load_catalogue())
    assert certificate.verdict is Verdict.PASS, certificate.reasons
    statuses = {item.id: item.status.value for item in certificate.requirements}
    assert (statuses["V2A-PORT-9443"], statuses["LAB-RPO"], statuses["V2S-DELTA"]) == ("pass", "pass", "not-run")
    assert certificate.measurements[0].value == 3.5
    assert {item.name for item in certificate.evidence} == {"ledger.jsonl", "junit.xml", "flows.json"}
    assert json.loads((run_dir / "certificate.json").read_text())["verdict"] == "pass"
    assert "flows.json" in (run_dir / "certificate.html").read_text()


@pytest.mark.parametrize("suite", [SUITE, BAD], ids=["good", "bad"])
def test_what_pytest_writes_agrees_with_itself(run_suite, suite: str) -> None:
    run_dir = run_suite(suite)
    write_certificate(run_dir, catalogue_of(run_dir))
    assert not list(recompute(run_dir, {}))
    junit = run_dir / "junit.xml"
    junit.write_text(junit.read_text().replace('name="test_', 'name="best_', 1))
    assert {finding.where for finding in recompute(run_dir, {})} == {"junit.xml"}


def test_failures_and_errors_are_told_apart(run_suite) -> None:
    run_dir = run_suite(BAD)
    events = [event.data for event in read_ledger(run_dir / "ledger.jsonl") if event.kind is EventKind.TEST]
    assert [event["outcome"] for event in events] == ["failed", "error", "error"]
    certificate = write_certificate(run_dir, load_catalogue())
    assert certificate.verdict is Verdict.FAIL
    assert {item.id for item in certificate.requirements if item.status == "fail"} == {
        "V2S-DELTA",
        "V2S-PS-XFER",
        "V2S-MT-RECV",
    }


def test_a_file_that_does_not_import_fails_the_run(run_suite) -> None:
    certificate = write_certificate(run_suite("import no_such_module"), load_catalogue())
    assert certificate.verdict is Verdict.FAIL


def test_a_run_without_an_end_is_incomplete(run_suite) -> None:
    assert write_certificate(run_suite(SUITE, ended=False), load_catalogue()).verdict is Verdict.INCOMPLETE


def test_changed_or_missing_evidence_is_found(run_suite) -> None:
    run_dir = run_suite(SUITE)
    (evidence,) = (run_dir / "evidence").iterdir()
    evidence.write_text("other")
    assert any("was changed" in reason for reason in write_certificate(run_dir, load_catalogue()).reasons)
    evidence.unlink()
    assert any("is missing" in reason for reason in write_certificate(run_dir, load_catalogue()).reasons)


def test_failures_that_only_junit_knows_are_found(run_suite) -> None:
    run_dir = run_suite(SUITE)
    (run_dir / "junit.xml").write_text('<testsuites><testsuite failures="1" errors="0"/></testsuites>')
    assert any("junit.xml" in reason for reason in write_certificate(run_dir, load_catalogue()).reasons)


def test_a_changed_ledger_makes_no_certificate(run_suite) -> None:
    run_dir = run_suite(SUITE)
    ledger = run_dir / "ledger.jsonl"
    ledger.write_text(ledger.read_text().replace("passed", "failed", 1))
    with pytest.raises(LedgerError):
        write_certificate(run_dir, load_catalogue())


def test_an_unknown_requirement_is_a_usage_error(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(SUITE.replace("V2S-DELTA", "V2S-DELTAS"))
    result = pytester.runpytest_subprocess("-p", "reports.plugin")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*there is no requirement 'V2S-DELTAS', did you mean 'V2S-DELTA'?*"])


def test_a_folder_without_a_ledger_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not the folder of a run"):
        write_certificate(tmp_path, load_catalogue())


def test_junit_and_allure_carry_requirements_and_the_environment(run_suite) -> None:
    run_dir = run_suite(SUITE, f"--alluredir={Path.cwd() / 'allure-results'}")
    junit = (run_dir / "junit.xml").read_text()
    assert '<property name="requirement" value="LAB-RPO"' in junit.replace(" />", "/>")
    results = [json.loads(path.read_text()) for path in Path("allure-results").glob("*-result.json")]
    labels = {(label["name"], label["value"]) for result in results for label in result["labels"]}
    assert {("tag", "LAB-RPO"), ("requirement", "V2A-PORT-9443")} <= labels
    write_allure_environment(run_dir)
    written = (run_dir / "allure-results" / "environment.properties").read_text()
    assert "topology = embedded\n" in written
    assert properties_of({"a b": "x\ny\\"}) == "a_b = x\\ny\\\\\n"
