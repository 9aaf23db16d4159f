"""Seeded defects fit the stack as it is, and what the probes say about them is judged honestly."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lab.commands.sensitivity import sensitivity
from lab.defects.lab_runs import LabOrder, orders_on_lab, probed_of, run_on_lab
from lab.defects.lines import changed_lines
from lab.defects.matrix import judge
from lab.defects.model import Defect, Edit, Part, PatchDoesNotApply
from lab.defects.patching import changed_sources, copy_with, require_fit, source_file
from lab.defects.patience import patience
from lab.defects.prober import Recorder
from lab.defects.probing import Probed, orders_for
from lab.defects.registry import DEFECTS, FOLDER, IMAGE_PROBES, PROBES, defect
from lab.defects.results import merged
from lab.defects.unproven import why_unproven
from lab.errors import BadInput, LabError
from lab.requirements import load_catalogue
from lab.runs import stack_build
from lab.waiting import Deadline, wait_until

ROOT = Path(__file__).parents[2]
ONE = Defect("one", Part.WIRE, "", ("LAB-RPO", "LAB-RTO"), (Edit("common.tls", "a", "b"),))


@pytest.mark.parametrize("item", DEFECTS, ids=lambda item: item.name)
def test_a_defect_fits_and_compiles(item: Defect) -> None:
    for module, text in changed_sources(item).items():
        compile(text, module, "exec")
        assert text != source_file(module).read_text()
    known = load_catalogue().by_id
    assert item.requirements
    assert set(item.requirements) <= set(known)


def test_every_rule_has_a_defect_or_says_why_none_can_break_it() -> None:
    named = {rule for item in DEFECTS for rule in item.requirements}
    said = load_catalogue().beyond_defects
    assert [rule for rule in said if rule not in named and not said[rule]] == [], "a defect, or a reason"
    assert [rule for rule in named if said[rule]] == [], "there is a defect now"


def test_a_rule_that_is_unproven_says_why() -> None:
    def row(name: str, *, ran: bool = False, equivalent: bool = False, machines: bool = False) -> dict[str, Any]:
        said = {"name": name, "requirements": ["R"], "ran": ran, "equivalent": equivalent}
        return {**said, "needs_machines": machines}

    def why(*rows: dict[str, Any], no_defect: str = "") -> str:
        return why_unproven(["R"], rows, {"R": no_defect})["R"]

    assert why(no_defect="nobody decides it") == "nobody decides it"
    assert why() == "no defect breaks it"
    assert why(row("a", machines=True), row("b", machines=True)) == "a, b: needs a lab, on which it was not tried"
    assert why(row("a", machines=True), row("b")) == "a, b: not tried"
    assert why(row("a", ran=True), row("b")) == "no test that carries it noticed a"
    assert why(row("a", ran=True, equivalent=True)) == "nobody could notice a: it is equivalent"


def test_there_are_enough_of_them_over_all_parts() -> None:
    names = [item.name for item in DEFECTS]
    assert len(set(names)) == len(names)
    fast = [item for item in DEFECTS if not item.needs_machines]
    assert len(fast) >= 40
    assert {item.part for item in fast} == set(Part)
    files = {file for part in Part for file in PROBES[part]} | {IMAGE_PROBES}
    assert all((FOLDER / file).is_file() for file in files)


def test_a_patch_that_does_not_fit_says_so() -> None:
    with pytest.raises(PatchDoesNotApply, match="0 times"):
        Edit("common.tls", "nowhere", "x").applied("text")
    with pytest.raises(PatchDoesNotApply, match="2 times"):
        Edit("common.tls", "a", "x").applied("a a")
    with pytest.raises(BadInput, match="did you mean 'disk-skipped'"):
        defect("disk-skiped")


def test_no_defect_is_tried_when_one_does_not_fit() -> None:
    misfit = replace(defect("disk-skipped"), name="outgrown", edits=(Edit("common.tls", "nowhere", "x"),))
    with pytest.raises(LabError, match="outgrown"):
        require_fit([defect("disk-skipped"), misfit])
    require_fit([defect("disk-skipped")])


def test_the_command_asks_for_fit_first(monkeypatch: pytest.MonkeyPatch) -> None:
    misfit = replace(defect("disk-skipped"), name="outgrown", edits=(Edit("common.tls", "nowhere", "x"),))
    monkeypatch.setattr("lab.defects.registry.defect", lambda _: misfit)
    monkeypatch.setattr("lab.commands.sensitivity._fast", lambda *_: pytest.fail("it was tried"))
    with pytest.raises(LabError, match="outgrown"):
        sensitivity(fast=True, only=["outgrown"])


def test_a_defect_is_noticed_survives_or_is_equivalent() -> None:
    def row(results: dict[str, str], *, equivalent: bool = False):
        rules = {"t": ("LAB-RPO", "V2S-DELTA")}
        clean = Probed(None, {"t": ""}, rules)
        return judge([ONE], [clean, Probed("one", results, rules, 1.0, equivalent)])

    noticed = row({"t": "assert 1 == 2"})
    assert (noticed.passed, noticed.rows[0].killed) == (True, ("LAB-RPO",))
    assert noticed.unproven(["LAB-RPO", "LAB-RTO"]) == ["LAB-RTO"]
    assert not row({"t": ""}).passed
    assert row({"t": ""}, equivalent=True).passed
    not_run = judge([ONE], [Probed(None, {"t": ""}, {})])
    assert (not_run.rows[0].ran, not_run.rows[0].survived, not_run.proven) == (False, False, {})
    assert not judge([ONE], [Probed(None, {"t": "late"}, {}), Probed("one", {"t": "x"}, {})]).passed


def test_a_test_that_fails_anyway_notices_nothing() -> None:
    found = judge([ONE], [Probed(None, {"t": "late", "u": ""}, {}), Probed("one", {"t": "late", "u": ""}, {})])
    assert found.rows[0].survived
    assert judge([ONE], [Probed(None, {"t": "late"}, {}), Probed("one", {"u": "x"}, {})]).rows[0].caught_by == ("u",)


def test_an_alarm_on_the_clean_stack_is_counted_in_every_run() -> None:
    orders = orders_for([ONE], clean_runs=5)
    assert [order.defect for order in orders] == [None] * 5 + ["one"]
    assert orders[0].exhaustive
    assert orders[0].files == PROBES[ONE.part], "probes that nothing is held against say nothing about it"


def test_no_probe_is_held_against_nothing() -> None:
    named = {file for files in PROBES.values() for file in files} | {IMAGE_PROBES}
    assert {path.name for path in FOLDER.glob("test_*.py")} <= named
    assert all((FOLDER / file).exists() for file in named)


def test_probes_that_can_prove_nothing_more_are_left_out() -> None:
    def asked(name: str, *rules: str) -> bool | None:
        marks = [SimpleNamespace(args=rules)]
        item: Any = SimpleNamespace(nodeid=name, iter_markers=lambda _: marks)
        return recorder.pytest_runtest_protocol(item)

    recorder = Recorder(ONE, exhaustive=False)
    assert asked("first", "LAB-RPO") is None
    assert asked("silent", "V2S-DELTA") is None, "nothing was noticed yet"
    recorder.results["first"] = "assert 1 == 2"
    assert asked("of the same rule", "LAB-RPO") is True
    assert asked("of no broken rule", "V2S-DELTA") is True
    assert asked("of the other rule", "LAB-RTO", "LAB-RPO") is None
    recorder = Recorder(ONE, exhaustive=True)
    recorder.results["first"] = "assert 1 == 2"
    assert asked("of the same rule", "LAB-RPO") is None


def test_a_process_of_probes_does_not_outlive_the_command() -> None:
    """Found when one was ended: its probes went on for a quarter of an hour, for nobody."""
    program = (
        "import os, signal, sys\n"
        "from lab.defects.prober import die_with_parent\n"
        "if os.fork() == 0:\n"
        "    die_with_parent()\n"
        "    print(os.getpid(), flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
        assert parent.stdout.read() == "", "the pipe is closed by the end of the last one that holds it"

        def state() -> str:
            try:
                return Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
            except (FileNotFoundError, ProcessLookupError):
                return "gone"

        wait_until(lambda: state() in {"gone", "Z"}, Deadline.after(20 * patience()), "end of the probes", every=0.05)


def test_deadlines_of_probes_are_longer_on_a_busy_computer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    for load, longer in ((0.1, 1.0), (9.0, 4.5), (500.0, 10.0)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0))
        assert patience() == longer


def test_lines_that_changed_are_found_also_when_they_only_moved() -> None:
    assert changed_lines("a\nb\n", "a\nx\nb\n") == {2}
    assert changed_lines("a\nb\n", "b\na\n") == {1}
    assert changed_lines("a\nb\n", "a\nb\nb\n") == {3}


def test_a_copy_of_the_project_has_the_defect_and_the_original_has_not(tmp_path: Path) -> None:
    item = defect("compression-off")
    copy_with(item, tmp_path)
    module = item.edits[0].full_module
    assert item.edits[0].old not in source_file(module, tmp_path).read_text()
    assert item.edits[0].old in source_file(module).read_text()
    program = "import lab.runs; print(lab.runs.stack_build(), lab.runs.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    said = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    ).stdout.split()
    assert said[1].startswith(str(tmp_path)), "the copy is what runs"
    assert said[0] != stack_build()


def test_a_run_on_a_lab_is_read_from_its_certificate() -> None:
    tests = [
        {"nodeid": "a", "outcome": "failed", "message": "x\nAssertionError: late", "requirements": ["LAB-RPO"]},
        {"nodeid": "b", "outcome": "passed", "message": "", "requirements": []},
        {"nodeid": "c", "outcome": "skipped", "message": "", "requirements": []},
    ]
    probed = probed_of(ONE, {"tests": tests})
    assert probed.results == {"a": "AssertionError: late", "b": ""}
    assert probed.noticed_by == ["a"]


def test_on_a_lab_only_tests_of_the_broken_rules_run_until_one_fails() -> None:
    two = Defect("two", Part.WIRE, "", ("LAB-RTO", "V2S-DELTA"), ONE.edits)
    clean, first, second = orders_on_lab([ONE, two], clean_runs=1)
    assert clean.suites == [word for rule in ("LAB-RPO", "LAB-RTO", "V2S-DELTA") for word in ("--requirement", rule)], (
        "the clean stack is held against everything that a defect is held against, to the end"
    )
    assert first.suites == ["--requirement", "LAB-RPO", "--requirement", "LAB-RTO", "--exitfirst"]
    assert second.defect is two
    assert "--exitfirst" not in orders_on_lab([ONE], clean_runs=1, exhaustive=True)[1].suites


@pytest.mark.timeout(600)
def test_a_defect_that_no_test_of_a_topology_could_notice_needs_no_machine() -> None:
    group_only = LabOrder(defect("member-cut-5-ms-late"), ("V2A-MVM-SAMEWORK",))
    with pytest.raises(LabError, match=r"no test on embedded\.yaml carries V2A-MVM-SAMEWORK"):
        run_on_lab(ROOT / "topologies" / "embedded.yaml", group_only)


def document(how: str, *probed: Probed, stack: str = "build") -> dict[str, object]:
    rules = {"t": ONE.requirements}
    found = judge([ONE], [Probed(None, {"t": ""}, rules), *probed])
    return found.to_json(dict.fromkeys(["LAB-RPO", "LAB-RTO", "V2S-DELTA"], ""), stack, how)


def test_what_parts_and_labs_showed_is_put_together() -> None:
    rules = {"t": ("LAB-RPO",)}
    fast = document("parts", Probed("one", {"t": ""}, rules))
    lab = document("a lab", Probed("one", {"t": "lost"}, rules))
    assert (fast["passed"], lab["passed"]) == (False, True)
    for first, second in ((fast, lab), (lab, fast)):
        both = merged(merged(None, first, {}), second, {"LAB-RPO": "", "LAB-RTO": "nobody can"})
        assert (both["passed"], both["clean"]["runs"], both["unproven"]) == (True, 2, ["LAB-RTO"])
        assert both["why_unproven"] == {"LAB-RTO": "nobody can"}
        assert [row["by"] for row in both["defects"]] == [["t"]]
        assert both["how"] == f"{first['how']}; {second['how']}"
        assert merged(both, second, {})["clean"]["runs"] == 2, "the same again counts once"


def test_what_was_not_run_this_time_stays_known_and_another_build_forgets() -> None:
    lab = document("a lab", Probed("one", {"t": "lost"}, {"t": ("LAB-RPO",)}))
    not_run = document("parts")
    assert merged(lab, not_run, {})["defects"][0]["caught"]
    other = merged(lab, document("parts", stack="another"), {})
    assert (other["defects"][0]["ran"], other["how"], other["proven"]) == (False, "parts", {})


@pytest.mark.timeout(600)
def test_the_command_notices_a_defect_and_calls_an_equivalent_one_equivalent(tmp_path: Path) -> None:
    names = ("compression-off", "delta-applied-twice-at-once")
    chosen = [word for name in names for word in ("--only", name)]
    words = ["-c", "from lab.cli import main; main()", "sensitivity", "--fast", "--json", *chosen]
    environment = {**os.environ, "RECOVERY_LAB_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = {row["name"]: row for row in json.loads(done.stdout)["defects"]}
    assert found["compression-off"]["caught"]
    assert (found[names[1]]["caught"], found[names[1]]["equivalent"]) == (False, True)
    assert not (tmp_path / "sensitivity.json").exists(), "a choice is no result for a certificate"
