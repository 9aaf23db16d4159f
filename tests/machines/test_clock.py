"""Setting a clock: what is missing is added, and how long the way takes does not count."""

import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.machines.clock import (
    NANO,
    READ,
    READINGS,
    SET_AND_READ,
    SHORT_SECONDS,
    TOLERANCE_SECONDS,
    read_clock,
    set_clock,
    shift_between,
)


@dataclass
class Machine:
    """Answers ``date`` after a while, by a clock of its own."""

    behind: float
    machine: str = "m1"
    seconds: float = 0.0
    obeys: bool = True
    read: int = 0
    said: list[str] = field(default_factory=list)

    def check(self, *argv: str) -> str:
        time.sleep(self.seconds / 2)
        self.read += argv == READ
        if argv != READ:
            self.said.append(argv[-1])
            if self.obeys:
                self.behind -= float(argv[-1].split()[1])
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
        """The first command to set it arrives late, and so does what it says."""

        def check(self, *argv: str) -> str:
            if argv != READ and not self.said:
                self.behind += 0.8
            return super().check(*argv)

    machine = Busy(60.0)
    assert set_clock(machine) == pytest.approx(60.0, abs=0.2)  # type: ignore[arg-type]
    assert machine.behind == pytest.approx(0, abs=0.2)


def test_it_is_set_and_read_with_one_command_that_fails_when_it_is_not_set(tmp_path: Path) -> None:
    date = tmp_path / "date"
    date.write_text('#!/bin/sh\n[ "$1" = --set ] && { echo set to "$2"; exit "$STATUS"; }\necho 17\n')
    date.chmod(0o755)
    argv = ["sh", "-c", SET_AND_READ, "sh", "now +1.500000 seconds"]
    for status, said in (("0", "17\n"), ("1", "")):
        path = f"{tmp_path}:{os.environ['PATH']}"
        done = subprocess.run(
            argv, check=False, capture_output=True, text=True, timeout=20, env={"PATH": path, "STATUS": status}
        )
        assert (done.returncode, done.stdout) == (int(status), said)
