"""What a run of ``lab sensitivity`` has shown is not lost, whatever ends it, and is used again only where it holds."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lab.commands.sensitivity import _Kept
from lab.defects import basis
from lab.defects.journal import FILE, Journal, split
from lab.defects.lab_runs import LabOrder
from lab.defects.model import Part
from lab.defects.patience import patience
from lab.defects.probing import Order, Probed
from lab.defects.registry import PROBES
from lab.waiting import Deadline, wait_until

ROOT = Path(__file__).parents[2]
CLEAN = Probed(None, {"t": ""}, {"t": ("LAB-RPO",)}, 1.5)
ONE = Probed("one", {"t": "assert 1 == 2"}, {"t": ("LAB-RPO", "LAB-RTO")}, 2.0)
NAMES = (
    *("host-delta-cut-short", "host-log-not-kept", "record-of-changes-not-moved-on"),
    "vmm-server-needs-a-hypervisor",
)


def begun(path: Path, *orders: str, resume: bool = True, build: str = "build") -> dict[str, list[Probed]]:
    return Journal(path, build).begin(set(orders), resume=resume)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """Two clean runs and one with a defect."""
    path = tmp_path / "home" / FILE
    begun(path)
    for order, probed in (("clean", CLEAN), ("first", ONE), ("clean", CLEAN)):
        Journal(path, "build").record(order, probed)
    return path


def test_what_was_kept_is_what_was_shown(written: Path) -> None:
    assert begun(written, "clean", "first", "second") == {"clean": [CLEAN, CLEAN], "first": [ONE]}


def test_what_another_build_showed_is_forgotten(written: Path) -> None:
    assert begun(written, "clean", "first", build="another") == {}
    assert begun(written, "clean", "first") == {}, "it is out of the file"


def test_a_result_that_was_written_as_the_signal_came_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECOVERY_LAB_HOME", str(tmp_path))
    record = Journal.record

    def record_and_end(journal: Journal, order: str, probed: Probed) -> None:
        record(journal, order, probed)
        raise KeyboardInterrupt

    kept = _Kept("build", resume=False)
    kept.begin(["clean", "clean", "first"], str)
    kept.add("clean", CLEAN)
    monkeypatch.setattr(Journal, "record", record_and_end)
    with pytest.raises(KeyboardInterrupt):
        kept.add("first", ONE)
    kept.say_how_to_go_on()
    assert "2 of 3 results are kept in " in capsys.readouterr().err


def test_nothing_is_kept_before_anything_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RECOVERY_LAB_HOME", str(tmp_path))
    _Kept("build", resume=True).say_how_to_go_on()
    assert "0 of 0 results are kept in " in capsys.readouterr().err


def test_a_new_run_begins_anew_and_leaves_what_is_not_its_own(written: Path) -> None:
    assert begun(written, "first", resume=False) == {}
    assert begun(written, "clean", "first") == {"clean": [CLEAN, CLEAN]}


def test_a_line_that_was_cut_off_costs_no_other(written: Path) -> None:
    with written.open("ab") as file:
        file.write(b'{"stack": "build", "order": "sec')
    assert begun(written, "clean", "first", "second") == {"clean": [CLEAN, CLEAN], "first": [ONE]}
    Journal(written, "build").record("second", ONE)
    assert begun(written, "second") == {"second": [ONE]}


def test_only_as_many_runs_are_left_out_as_there_are_results() -> None:
    done, left = split(["c", "c", "c", "d"], lambda order: order, {"c": [CLEAN, CLEAN], "e": [ONE]})
    assert (done, left) == ([CLEAN, CLEAN], ["c", "d"])


def test_a_result_rests_on_the_defect_and_on_all_files_of_its_probes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    order = Order("late-member-shares-anyway", PROBES[Part.GROUP])
    files = {path.relative_to(ROOT / "tests").as_posix() for path in basis.files_behind(order.files)}
    imported = "replication/data/test_group_rounds.py"
    assert {"probes/test_rounds.py", imported, "probes/conftest.py", "conftest.py"} <= files
    before = basis.of_probes(order)
    assert before != basis.of_probes(replace(order, defect=None))
    assert before != basis.of_probes(replace(order, exhaustive=True))
    copy = tmp_path / "tests"
    shutil.copytree(ROOT / "tests", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(basis, "_TESTS", copy)
    monkeypatch.setattr(basis, "FOLDER", copy / "probes")
    monkeypatch.setattr(basis, "_IMPORTED_FROM", (copy / "probes", copy / "replication" / "data"))
    assert digest_now(order) == before
    with (copy / imported).open("a") as file:
        file.write("# another probe\n")
    assert digest_now(order) != before


def digest_now(order: Order) -> str:
    basis._content.cache_clear()
    return basis.of_probes(order)


def test_a_result_of_a_lab_rests_on_its_topology(tmp_path: Path) -> None:
    order, topology = LabOrder(None, ("LAB-RPO",)), tmp_path / "small.yaml"
    topology.write_text("name: one\n")
    before = basis.of_lab(order, topology)
    assert basis.of_lab(order, topology) == before != basis.of_lab(replace(order, exhaustive=True), topology)
    topology.write_text("name: two\n")
    assert basis.of_lab(order, topology) != before


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_a_run_that_was_ended_goes_on_where_it_was(tmp_path: Path, how: signal.Signals) -> None:
    file = tmp_path / FILE
    with started(tmp_path) as running:
        wait_until(lambda: len(lines(file)) >= 1, Deadline.after(300 * patience()), "a result", every=0.02)
        running.send_signal(how)
        said = running.communicate(timeout=60 * patience())[1]
    first = lines(file)
    assert 1 <= len(first) < len(NAMES) + 1, "it had to be ended in the middle"
    assert ("the same with --resume goes on" in said) == (how is not signal.SIGKILL)
    with started(tmp_path, "--resume") as running:
        out, said = running.communicate(timeout=600 * patience())
    assert running.returncode == 0, said[-3000:]
    assert f"{len(first)} results of this build are kept from before" in said
    assert f"{len(NAMES) + 1} of {len(NAMES) + 1}: " in said, "results are told of as they come"
    assert lines(file)[: len(first)] == first
    assert len(lines(file)) == len(NAMES) + 1, "what was known was not run again"
    found = json.loads(out)
    assert {row["name"] for row in found["defects"] if row["caught"]} == set(NAMES)
    assert found["clean"]["runs"] == 1


def started(home: Path, *more: str) -> subprocess.Popen[str]:
    chosen = [word for name in NAMES for word in ("--only", name)]
    words = ["-c", "from lab.cli import main; main()", "sensitivity", "--fast", "--json", "--workers", "1", *chosen]
    environment = {**os.environ, "RECOVERY_LAB_HOME": str(home)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    # What ignores Ctrl-C, as all that a shell starts in the background does, hands that on.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen([sys.executable, *words, *more], cwd=ROOT, env=environment, text=True, **pipes)
    finally:
        signal.signal(signal.SIGINT, before)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []
