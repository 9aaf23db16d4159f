"""A choice of rules runs their tests and what those go on from, and nothing else."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.options import ORDER
from fixtures.selection import GOES_ON_FROM, STORIES, needed, subject_of

# Each of three tests collects the suites in a process of its own: five seconds, minutes on a busy computer.
pytestmark = pytest.mark.timeout(600)
ROOT = Path(__file__).parents[1]
SUITES = ROOT / "suites"
FILES = sorted(SUITES.glob("*/test_*.py"))


def collected(*words: str) -> tuple[int, list[str], str]:
    command = [sys.executable, "-m", "pytest", "suites", "--collect-only", "-q", "-p", "no:cacheprovider"]
    topology = ["--topology", "topologies/embedded.yaml"]
    done = subprocess.run(
        [*command, *topology, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    found = [line for line in done.stdout.splitlines() if "::" in line and line.startswith("suites/")]
    return done.returncode, found, done.stdout + done.stderr


def test_a_rule_of_the_way_back_has_the_whole_failover_before_it() -> None:
    code, tests, said = collected("--requirement", "V2A-FB-COMMIT")
    assert code == 0, said
    folders = list(dict.fromkeys(test.split("/")[1] for test in tests))
    assert folders == ["failover", "failback"]
    assert tests[-1].endswith("test_commit_of_the_failback_removes_the_replica")
    whole = len(functions(SUITES / "failover/test_unplanned_failover.py"))
    left_out = said.count("not on this topology: suites/failover/")
    assert sum("failover/" in test for test in tests) == whole - left_out


def test_a_rule_of_one_test_that_needs_no_other_runs_this_one() -> None:
    code, tests, said = collected("--requirement", "V2A-PORT-9443-CONF")
    assert code == 0, said
    assert [test.partition("::")[2] for test in tests] == ["test_the_data_port_moves_and_replication_goes_on"]


def test_a_rule_that_is_not_in_the_catalogue_is_refused() -> None:
    code, tests, said = collected("--requirement", "V2A-FB-COMIT")
    assert (code, tests) == (4, [])
    assert "V2A-FB-COMMIT" in said


def test_every_subject_in_the_tables_exists() -> None:
    subjects = {subject_of(file, SUITES) for file in FILES}
    assert subjects >= STORIES
    assert {*GOES_ON_FROM, *GOES_ON_FROM.values()} <= STORIES
    assert all(
        ORDER.index(before.partition("/")[0]) <= ORDER.index(after.partition("/")[0])
        for after, before in GOES_ON_FROM.items()
    )


@given(st.lists(st.tuples(st.sampled_from(sorted({*STORIES, "ports", ""})), st.booleans()), max_size=40))
def test_whoever_is_kept_has_everything_that_it_goes_on_from(tests: list[tuple[str, bool]]) -> None:
    tests.sort(key=lambda test: sorted({*STORIES, "ports", ""}).index(test[0]))
    subjects, carries = [subject for subject, _ in tests], [carried for _, carried in tests]
    keep = needed(subjects, carries)
    kept = {subject for subject, there in zip(subjects, keep, strict=True) if there}
    assert all(there for there, carried in zip(keep, carries, strict=True) if carried)
    assert any(keep) == any(carries)
    for subject in kept & set(GOES_ON_FROM):
        assert all(there for name, there in zip(subjects, keep, strict=True) if name == GOES_ON_FROM[subject])
    for subject in kept & STORIES:
        mine = [there for name, there in zip(subjects, keep, strict=True) if name == subject]
        assert mine == sorted(mine, reverse=True), "no gap in a story"


def functions(file: Path) -> list[str]:
    body = ast.parse(file.read_text()).body
    return [node.name for node in body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
