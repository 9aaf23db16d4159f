"""Rows about the harness itself: planning, collecting, memory, and what each further machine costs."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lab.bench.large import large_topology
from lab.bench.rows import Row, at_most, close_to_limit
from lab.bench.simulated import simulate
from lab.errors import LabError

PLAN, COLLECT, MEMORY, COST = "plan-10000", "collect-10000", "memory-100", "cost-per-machine"
NAMES = (PLAN, COLLECT, MEMORY, COST)
MANY, SIMULATED = 10_000, 100
SIZES = (10, 100, 1000, 10_000)
PLAN_SECONDS, COLLECT_SECONDS, MEMORY_MIB = 2.0, 5.0, 500.0
GROWTH = 1.5
"""A machine among 10,000 may cost this much more than one in the lab where it costs least."""
AT_LEAST_MACHINES = 1000
"""Small labs are simulated so often that as many machines are made in all: their times are short."""
TOOL_SECONDS = 300.0
_ROOT = Path(__file__).resolve().parents[2]
FILES = 100
_CONFTEST = 'pytest_plugins = ["reports.plugin", "fixtures.options"]\n'
_TEST = """

@pytest.mark.requirement("V2S-DELTA")
def test_{number}() -> None:
    assert True
"""


Spent = tuple[float, float]
"""Seconds from the start of a process to its end, and seconds of processors: on a busy computer they differ."""


def plan_many(turns: int) -> list[Row]:
    """Measure ``lab plan`` as a process. Raises LabError."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "large.yaml"
        file.write_text(large_topology(MANY), encoding="utf-8")
        # The first one is not counted: Python compiles what it has not seen yet.
        found = [_planned(file) for _ in range(turns + 1)][1:]
    return _rows(PLAN, found, PLAN_SECONDS)


def _rows(name: str, found: list[Spent], goal: float) -> list[Row]:
    elapsed, processors = zip(*found, strict=True)
    return [at_most(name, "s", elapsed, goal), at_most(f"{name}-cpu", "s", processors, goal)]


def _planned(file: Path) -> Spent:
    # 1: this computer has no room for so many, which the plan says.
    output, spent = _timed([str(Path(sys.executable).with_name("lab")), "plan", str(file)], {0, 1})
    if f"\nm{MANY - 2} " not in output:
        raise LabError(f"the plan of {MANY} machines lacks the last one: {output[-400:]}")
    return spent


def collect_many(turns: int) -> list[Row]:
    """Measure the collection of tests with the lab's plugins, as a process. Raises LabError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tests(folder)
        found = [_collected(folder) for _ in range(turns + 1)][1:]
    return _rows(COLLECT, found, COLLECT_SECONDS)


def write_tests(folder: Path) -> None:
    """Write all tests in some files, each with the marker of a requirement, as the suites' have."""
    (folder / "conftest.py").write_text(_CONFTEST, encoding="utf-8")
    for place in range(FILES):
        tests = "".join(_TEST.format(number=number) for number in range(MANY // FILES))
        (folder / f"test_{place}.py").write_text(f"import pytest\n{tests}", encoding="utf-8")


def _collected(folder: Path) -> Spent:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-q", "--rootdir", str(folder)]
    output, spent = _timed([*command, "-p", "no:cacheprovider", str(folder)], {0})
    counted = sum(int(line.rpartition(": ")[2]) for line in output.splitlines() if ".py: " in line)
    if counted != MANY:
        raise LabError(f"{counted} tests were collected and not {MANY}: {output[-400:]}")
    return spent


def memory_of_many(turns: int) -> list[Row]:
    """Measure the largest memory of a harness with simulated machines, as a process. Raises LabError."""
    found = [_simulated(SIMULATED)["peak_mib"] for _ in range(turns)]
    return [at_most(MEMORY, "MiB", found, MEMORY_MIB)]


def _simulated(machines: int) -> dict[str, float]:
    output = _run([sys.executable, "-m", "lab.bench.simulated", str(machines)], {0})
    found: dict[str, float] = json.loads(output)
    return found


def cost_per_machine(turns: int) -> list[Row]:
    """Compare what a machine costs in the largest lab with what it costs in the cheapest one. Raises LabError."""
    pairs = []
    for _ in range(turns):
        costs = {size: _cost_ms(size) for size in SIZES}
        pairs.append((costs[max(SIZES)], min(costs.values())))
    return [close_to_limit(COST, "ms", pairs, GROWTH)]


def _cost_ms(machines: int) -> float:
    """Return the processor milliseconds that each of so many machines takes from the file to running."""
    times = max(1, AT_LEAST_MACHINES // machines)
    with tempfile.TemporaryDirectory() as folder:
        seconds = sum(simulate(machines, Path(folder)) for _ in range(times))
    return seconds / times / machines * 1e3


def _timed(command: list[str], expected: set[int]) -> tuple[str, Spent]:
    begin, before = time.monotonic(), _processors()
    output = _run(command, expected)
    return output, (time.monotonic() - begin, _processors() - before)


def _processors() -> float:
    """Return the processor seconds of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _run(command: list[str], expected: set[int]) -> str:
    try:
        done = subprocess.run(
            command, cwd=_ROOT, capture_output=True, text=True, timeout=TOOL_SECONDS, check=False
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{' '.join(command[1:4])}: not done after {TOOL_SECONDS:.0f} s") from error
    if done.returncode not in expected:
        raise LabError(f"{' '.join(command[1:4])} ended with {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout
