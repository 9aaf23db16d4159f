"""Setting a clock: what is missing is added, and how long the way takes does not count."""

import time
from dataclasses import dataclass, field

import pytest

from lab.errors import LabError
from lab.machines.clock import (
    NANO,
    READ,
    READINGS,
    SHORT_SECONDS,
    TOLERANCE_SECONDS,
    ClockReading,
    moved,
    read_clock,
    shift_between,
)


@dataclass
class Machine:
    """Answers ``date`` after a while, by a clock of its own, which it moves when it is told to."""

    behind: float
    machine: str = "m1"
    seconds: float = 0.0
    obeys: bool = True
    read: int = 0
    told: list[float] = field(default_factory=list)

    def check(self, *argv: str) -> str:
        assert argv == READ
        self.read += 1
        time.sleep(self.seconds / 2)
        answer = time.time_ns() - int(self.behind * NANO)
        time.sleep(self.seconds / 2)
        return f"{answer}\n"

    def move(self, seconds: float) -> ClockReading:
        self.told.append(seconds)
        if self.obeys:
            self.behind -= seconds
        return read_clock(self)  # type: ignore[arg-type]

    def set(self) -> float:
        return moved(self.machine, read_clock(self), self.move)  # type: ignore[arg-type]


@pytest.mark.parametrize("behind", [3600.0, -3600.0, 400 * 24 * 3600.0])
def test_a_clock_is_moved_by_what_is_missing(behind: float) -> None:
    machine = Machine(behind, seconds=0.02)
    assert machine.set() == pytest.approx(behind, abs=0.2)
    assert machine.behind == pytest.approx(0, abs=0.2)


def test_a_clock_that_is_right_stays() -> None:
    machine = Machine(0.0, seconds=0.02)
    machine.set()
    assert machine.told == []


def test_the_reading_says_how_wrong_it_may_be() -> None:
    reading = read_clock(Machine(5.0, seconds=0.04))  # type: ignore[arg-type]
    assert reading.error >= 0.02
    assert abs(reading.behind - 5.0) <= reading.error


def test_a_clock_that_does_not_obey_is_an_error() -> None:
    machine = Machine(TOLERANCE_SECONDS + 1, obeys=False)
    with pytest.raises(LabError, match=r"clock of m1 was set and is still 1\.5 s behind"):
        machine.set()


@pytest.mark.parametrize(("seconds", "readings"), [(0.0, 1), (2.2 * SHORT_SECONDS, READINGS)])
def test_a_short_way_is_read_once_and_a_long_one_a_few_times(seconds: float, readings: int) -> None:
    machine = Machine(5.0, seconds=seconds)
    read_clock(machine)  # type: ignore[arg-type]
    assert machine.read == readings


def test_two_clocks_are_compared_through_this_host() -> None:
    shift = shift_between(Machine(2.0, seconds=0.02), Machine(5.0, seconds=0.01))  # type: ignore[arg-type]
    assert abs(shift.ahead_ns - 3 * NANO) <= shift.error_ns
    assert shift.error_ns >= 0.015 * NANO
    later = shift.read_ns + 1000 * NANO
    assert shift.error_at(later) == shift.error_ns + 0.2 * NANO, "clocks drift"


def test_a_setting_that_went_wrong_is_repeated() -> None:
    class Busy(Machine):
        """The first order arrives late, and so does what it says."""

        def move(self, seconds: float) -> ClockReading:
            if not self.told:
                self.behind += 0.8
            return super().move(seconds)

    machine = Busy(60.0)
    assert machine.set() == pytest.approx(60.0, abs=0.2)
    assert machine.behind == pytest.approx(0, abs=0.2)
