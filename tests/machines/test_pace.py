"""How fast a machine's clock runs, by two readings and a nap between them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.machines.clock import NANO
from lab.machines.pace import RIGHT, pace_of, read_pace
from lab.waiting import DeadlineExceeded

SLEPT = 0.05


@dataclass
class Machine:
    """Its clock runs at a pace of its own, and it naps by that clock; naps of more than a second take too long."""

    pace: float
    machine: str = "m1"
    began: float = field(default_factory=time.monotonic)
    closed: int = 0

    def check(self, *argv: str) -> str:
        assert argv == ("date", "+%s%N")
        return f"{int((time.monotonic() - self.began) * self.pace * NANO)}\n"

    def run(self, *argv: str, seconds: float) -> None:
        assert (argv[0], seconds > 0) == ("sleep", True)
        time.sleep(min(SLEPT / self.pace, 0.2))
        if SLEPT / self.pace > 1:
            raise DeadlineExceeded("sleep")

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize(
    ("pace", "right", "closed"),
    [(1.0, True, 0), (1 / 75, False, 1), (0.5, False, 0), (2.0, False, 0), (42.0, False, 0)],
)
def test_a_clock_that_was_measured_wrong_is_noticed(pace: float, right: bool, closed: int) -> None:
    machine = Machine(pace)
    read = read_pace(machine)  # type: ignore[arg-type]
    assert read.right is right, str(read)
    assert machine.closed == closed, "a nap that did not end holds a connection"


@given(st.floats(0.01, 100), st.floats(0.01, 60), st.floats(0, 30), st.floats(-1, 1))
def test_a_clock_is_accused_only_when_no_error_of_reading_explains_it(
    pace: float, seconds: float, error: float, part: float
) -> None:
    read = pace_of(pace * seconds + part * error, seconds, error)
    assert read.least <= pace * (1 + 1e-9)
    assert read.most >= pace * (1 - 1e-9)
    if RIGHT[0] <= pace <= RIGHT[1]:
        assert read.right or read.least == pytest.approx(RIGHT[1]) or read.most == pytest.approx(RIGHT[0])
