"""A machine boots once more when its kernel has measured its clock wrong, and not a third time."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from lab.errors import LabError
from lab.machines.pace import Pace
from lab.provision import boot
from lab.provision.boot import BOOTS, boot_in_time
from lab.topology.facts import Acceleration
from lab.waiting import Deadline

GOOD, BAD = Pace(0.9, 1.1), Pace(40.0, 44.0)


@dataclass
class Ssh:
    said: list[str]

    def check(self, *argv: str) -> str:
        self.said.append(" ".join(argv))
        return ""


@dataclass
class Machine:
    """Writes down what is done to it."""

    name: str = "app1"
    did: list[str] = field(default_factory=list)

    @property
    def ssh(self) -> Ssh:
        return Ssh(self.did)

    def power_on(self) -> None:
        self.did.append("on")

    def power_off(self) -> None:
        self.did.append("off")

    def wait_booted(self, deadline: Deadline) -> None:
        assert deadline.seconds > 0
        self.did.append("ready")


@dataclass
class Board:
    steps: list[str] = field(default_factory=list)

    def step(self, name: str, what: str) -> None:
        self.steps.append(f"{name} {what}")


def booted(monkeypatch: pytest.MonkeyPatch, *paces: Pace, acceleration: Acceleration = Acceleration.TCG) -> list[str]:
    """Boot a machine whose clock has these paces, one after each boot; what was done and said."""
    left, machine, board = list(paces), Machine(), Board()
    monkeypatch.setattr(boot, "read_pace", lambda _: left.pop(0))
    boot_in_time(machine, acceleration, board)  # type: ignore[arg-type]
    assert left == []
    return machine.did + board.steps


def test_a_clock_that_is_right_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert booted(monkeypatch, GOOD) == ["on", "ready"]


def test_with_acceleration_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    assert booted(monkeypatch, acceleration=Acceleration.KVM) == ["on", "ready"]


def test_a_clock_that_was_measured_wrong_is_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "app1 its clock runs 40.00 to 44.00 times as fast as this host's: booting again"
    assert booted(monkeypatch, BAD, GOOD) == ["on", "ready", "sync", "off", "on", "ready", said]


def test_a_clock_that_stays_wrong_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(LabError, match=r"app1: in 2 boots its clock ran 40\.00 to 44\.00 times as fast"):
        booted(monkeypatch, *[BAD] * BOOTS)
