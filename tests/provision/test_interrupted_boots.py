"""Whoever interrupts a lab that boots does not wait for its boots; a machine that ended is not waited for."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from lab.hypervisors.model import PowerState
from lab.hypervisors.protocols import NotFound
from lab.machines.ssh import SshTransport
from lab.provision.boot import boot_in_time, end_boots
from lab.provision.lab import LabMachine, NeverBooted
from lab.topology.facts import Acceleration
from lab.waiting import Deadline, wait_until

SOON = 10.0


class Power:
    """A machine nobody can log in to."""

    def __init__(self, console: Path, *, ends_at_once: bool = False) -> None:
        self.console = console
        self.on = threading.Event()
        self.began = threading.Event()
        self._ends_at_once = ends_at_once

    def power(self) -> PowerState:
        return PowerState.ON if self.on.is_set() else PowerState.OFF

    def power_on(self) -> None:
        if not self._ends_at_once:
            self.on.set()
        self.began.set()

    def power_off(self) -> None:
        self.on.clear()


class Missing(Power):
    def power_off(self) -> None:
        super().power_off()
        raise NotFound("no machine app1")


class Board:
    def step(self, name: str, what: str) -> None:
        """Say nothing."""


class Login(SshTransport):
    """Fails as an SSH client does where nobody listens."""

    def run(self, *argv: str, **_: Any) -> Any:
        raise TimeoutError("connection refused")


@pytest.fixture
def console(tmp_path: Path) -> Path:
    path = tmp_path / "app1.console"
    path.write_text("Kernel panic - not syncing\n")
    return path


def machine(power: Power) -> LabMachine:
    return LabMachine("app1", Login("app1", None, None), power)  # type: ignore[arg-type]


def test_a_machine_that_ended_is_not_waited_for(console: Path) -> None:
    with pytest.raises(NeverBooted, match=r"(?s)app1 has lost its power while it booted.*Kernel panic"):
        boot_in_time(machine(Power(console, ends_at_once=True)), Acceleration.TCG, Board())  # type: ignore[arg-type]


def test_a_machine_with_power_has_until_its_deadline(console: Path) -> None:
    power = Power(console)
    power.power_on()
    with pytest.raises(NeverBooted, match=r"no SSH login to app1 within 0 s: connection refused"):
        machine(power).wait_booted(Deadline.after(0.3))


@pytest.mark.parametrize("kind", [Power, Missing])
def test_boots_end_when_somebody_interrupts(console: Path, kind: type[Power]) -> None:
    power = kind(console)
    with ThreadPoolExecutor(1) as pool:
        job = pool.submit(boot_in_time, machine(power), Acceleration.TCG, Board())  # type: ignore[arg-type]
        wait_until(power.began.is_set, Deadline.after(SOON), "power", every=0.01)
        end_boots([job], [machine(power)])
    assert isinstance(job.exception(), NeverBooted)
