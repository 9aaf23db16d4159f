"""Setting a clock: what is missing is added, and how long the way takes does not count."""

import time
from dataclasses import dataclass, field

import pytest

from lab.errors import LabError
from lab.machines.clock import NANO, TOLERANCE_SECONDS, read_clock, set_clock


@dataclass
class Machine:
    """Answers ``date`` after a while, by a clock of its own."""

    behind: float
    machine: str = "m1"
    seconds: float = 0.0
    obeys: bool = True
    said: list[str] = field(default_factory=list)

    def check(self, *argv: str) -> str:
        time.sleep(self.seconds / 2)
        if argv[1] == "--set":
            self.said.append(argv[2])
            if self.obeys:
                self.behind -= float(argv[2].split()[1])
        answer = time.time_ns() - int(self.behind * NANO)
        time.sleep(self.seconds / 2)
        return f"{answer}\n"


@pytest.mark.parametrize("behind", [3600.0, -3600.0, 400 * 24 * 3600.0])
def test_a_clock_is_moved_by_what_is_missing(behind: float) -> None:
    machine = Machine(behind, seconds=0.02)
    assert set_clock(machine) == pytest.approx(behind, abs=0.2)  # type: ignore[arg-type]
    assert machine.behind == pytest.approx(0, abs=0.2)


def test_a_clock_that_is_right_stays() -> None:
    machine = Machine(0.0, seconds=0.02)
    set_clock(machine)  # type: ignore[arg-type]
    assert machine.said == []


def test_the_reading_says_how_wrong_it_may_be() -> None:
    reading = read_clock(Machine(5.0, seconds=0.04))  # type: ignore[arg-type]
    assert reading.error >= 0.02
    assert abs(reading.behind - 5.0) <= reading.error


def test_a_clock_that_does_not_obey_is_an_error() -> None:
    machine = Machine(TOLERANCE_SECONDS + 1, obeys=False)
    with pytest.raises(LabError, match=r"clock of m1 was set and is still 1\.5 s behind"):
        set_clock(machine)  # type: ignore[arg-type]
