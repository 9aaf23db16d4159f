"""The command line as users meet it: output, exit codes, no tracebacks."""

import json
import re
import sys
from pathlib import Path

import pytest

from lab import cli
from lab.bench.large import large_topology
from lab.commands.catalogue import collect_carriers
from lab.errors import LabError
from lab.topology.facts import Acceleration, AccelerationFact
from lab.topology.model import Topology
from lab.topology.schema import schema_text

EMBEDDED = str(Path(__file__).parents[1] / "topologies" / "embedded.yaml")


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """Run ``lab`` and return exit code, stdout and stderr."""
    fact = AccelerationFact(Acceleration.TCG, proved=True, reason="not tried in tests")
    monkeypatch.setattr("lab.doctor.facts.assess", lambda *_: fact)
    monkeypatch.setenv("RECOVERY_LAB_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lab", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_plan_for_people_and_programs(lab) -> None:
    code, out, _ = lab("plan", EMBEDDED)
    assert "app1-replica" in out
    json_code, as_json, _ = lab("plan", EMBEDDED, "--json")
    content = json.loads(as_json)
    assert [machine["name"] for machine in content["machines"]] == ["app1", "app2", "ps1", "mt1"]
    assert code == json_code == (0 if content["runnable"] else 1)


def test_only_a_program_is_told_the_digest_and_so_only_then_is_it_made(lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Topology] = []
    monkeypatch.setattr(Topology, "digest", property(lambda topology: asked.append(topology) or "5ea1"))
    lab("plan", EMBEDDED)
    assert not asked
    content = json.loads(lab("plan", EMBEDDED, "--json")[1])
    assert list(content)[:3] == ["topology", "digest", "scenario"]
    assert (content["digest"], len(asked)) == ("5ea1", 1)


def test_a_large_plan_is_not_laid_out_to_the_terminal(lab, tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_text(large_topology(200))
    lines = lab("plan", str(file))[1].splitlines()
    (forwarded,) = [line for line in lines if line.startswith("forwarded from 127.0.0.1: ps1:22, mt1:22, m1:22, ")]
    assert forwarded.endswith(", m197:22, m198:22")


def test_wrong_input_is_exit_code_2_and_one_message(lab, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("topologi: x\n")
    code, out, err = lab("plan", str(wrong))
    assert (code, out) == (2, "")
    assert "wrong.yaml:1: 'topologi' is not a key of a topology, did you mean 'topology'?" in err
    assert "Traceback" not in err


def test_a_damaged_lab_does_not_hide_the_others(lab, tmp_path: Path) -> None:
    for name, state in (("a-damaged", "{"), ("b-left", None)):
        folder = tmp_path / "labs" / name
        folder.mkdir(parents=True)
        if state is not None:
            (folder / "state.json").write_text(state)
    code, out, err = lab("status")
    assert re.search(r"a-damaged\s+damaged", out)
    assert re.search(r"b-left\s+left over", out)
    assert code == 1
    assert "state of lab a-damaged is damaged" in err


def test_failures_are_exit_code_1_with_their_hint(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def broken() -> None:
        raise LabError("app1 [did] not boot", hint="lab ssh app1")

    monkeypatch.setattr(cli, "application", lambda: broken)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err == "app1 [did] not boot\nhint: lab ssh app1\n"


def test_doctor(lab) -> None:
    code, out, _ = lab("doctor", "--json")
    checks = json.loads(out)
    assert {"acceleration", "memory", "disk", "cores"} <= {check["subject"] for check in checks}
    assert code == (1 if any(check["grade"] == "problem" for check in checks) else 0)
    assert "TCG" in lab("doctor")[1]


def test_schema(lab, tmp_path: Path) -> None:
    assert lab("schema")[:2] == (0, schema_text())
    assert lab("schema", "--write", str(tmp_path / "s.json"))[0] == 0
    assert (tmp_path / "s.json").read_text() == schema_text()


def test_requirements(lab, tmp_path: Path) -> None:
    code, out, _ = lab("requirements", "--scenario", "P2S", "--out", str(tmp_path))
    assert code == 0
    assert "V2A-PORT-9443" in out
    assert "adopted by decision C12" in " ".join(out.split())
    assert "H2A-PREP" not in out
    assert re.search(r"recovery_plans \d", " ".join(out.split()))


def test_requirements_for_programs_with_holes_and_the_last_run(
    lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    latest = tmp_path / "latest"
    latest.mkdir()
    shown = {"requirements": [{"id": "V2A-FO-RP", "status": "pass"}, {"id": "V2A-UFO", "status": "fail"}]}
    (latest / "certificate.json").write_text(json.dumps(shown))
    code, out, _ = lab("requirements", "--json", "--out", str(tmp_path))
    rows = {row["id"]: row for row in json.loads(out)}
    assert code == 0
    assert rows["V2A-FO-RP"]["last"] == "pass"
    assert (
        "suites/recovery_plans/test_plan_runs.py::test_groups_start_one_after_the_other" in rows["V2A-FO-RP"]["tests"]
    )
    assert (rows["V2A-UFO"]["last"], rows["V2A-UFO"]["hole"]) == ("fail", False)
    assert not [name for name, row in rows.items() if row["hole"]], "a rule without a test says why (not_tested)"
    monkeypatch.setattr("lab.commands.catalogue.collect_carriers", lambda: {"H2S-AUTH-CERT": ["suites/a/b.py::c"]})
    _, holes, _ = lab("requirements", "--json", "--holes", "--scenario", "H2S", "--out", str(tmp_path))
    found = {row["id"]: row for row in json.loads(holes)}
    assert {row["hole"] for row in found.values()} == {True}
    hole = found["H2S-AUTH-KRB"]
    assert (hole["tests"], hole["hole"], hole["last"]) == ([], True, None)
    assert "H2S-AUTH-CERT" not in found
    assert "no test" in lab("requirements", "--scenario", "H2S", "--out", str(tmp_path))[1]
    (latest / "certificate.json").write_text("{")
    assert lab("requirements", "--out", str(tmp_path))[0] == 2


def test_suites_that_cannot_be_collected_are_one_message(tmp_path: Path) -> None:
    (tmp_path / "suites").mkdir()
    (tmp_path / "suites" / "test_broken.py").write_text("import nothing_of_that_name\n")
    with pytest.raises(LabError, match="nothing_of_that_name"):
        collect_carriers(tmp_path / "suites")


def test_report_of_a_folder_without_a_run(lab, tmp_path: Path) -> None:
    code, _, err = lab("report", str(tmp_path))
    assert code == 2
    assert "not the folder of a run" in err


def test_no_arguments_show_help(lab) -> None:
    assert "plan" in "".join(lab()[1:])
