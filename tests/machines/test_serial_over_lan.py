"""The contract of a console over LAN: OpenIPMI's simulator, and a real BMC (``--bmc-endpoint``, BMC_IPMI_PORT)."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from bmc_backends import real_ipmi
from ipmi_simulator import SIMULATOR, Simulated, simulated

from lab.errors import BadInput
from lab.hypervisors.model import PowerState
from lab.machines.ipmi import IpmiPower
from lab.machines.power import BmcError
from lab.machines.serial_over_lan import ConsoleOverLan
from lab.waiting import Deadline, wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def bmc(tmp_path: Path) -> Iterator[Simulated]:
    if SIMULATOR is None or shutil.which("ipmitool") is None:
        pytest.skip("ipmi_sim or ipmitool is not installed: make bootstrap")
    folder = tmp_path / "simulator"
    folder.mkdir()
    with simulated(folder) as found:
        yield found


def soon() -> Deadline:
    return Deadline.after(60)


def wait_for_text(record: Path, text: str) -> None:
    wait_until(lambda: text in record.read_text(), soon(), text, explain=record.read_text)


def test_power_over_another_ipmi_implementation(bmc: Simulated) -> None:
    power = IpmiPower(bmc.target)
    power.power_on(soon())
    assert power.state() is PowerState.ON
    power.power_off(soon())
    assert power.state() is PowerState.OFF


def test_what_the_machine_prints_is_recorded_and_nothing_else(bmc: Simulated, tmp_path: Path) -> None:
    record = tmp_path / "console.log"
    console = ConsoleOverLan(bmc.target, record)
    console.wait_open(60)
    bmc.serial.print("Linux version 6.1\r\nlogin: ")
    wait_for_text(record, "login: ")
    console.close()
    assert record.read_bytes() == b"Linux version 6.1\r\nlogin: "
    assert record.stat().st_mode & 0o777 == 0o600


def test_the_console_is_free_for_the_next_one_and_the_record_goes_on(bmc: Simulated, tmp_path: Path) -> None:
    record = tmp_path / "console.log"
    for words in ("first", "second"):
        console = ConsoleOverLan(bmc.target, record)
        console.wait_open(60)
        bmc.serial.print(f"{words}\r\n")
        wait_for_text(record, words)
        console.close()
    assert record.read_text().split() == ["first", "second"]


def test_a_wrong_password_is_said_and_not_shown(bmc: Simulated, tmp_path: Path) -> None:
    console = ConsoleOverLan(replace(bmc.target, password="wrong-secret"), tmp_path / "console.log")
    with pytest.raises(BmcError, match=r"no serial console over LAN \(waited for at most 3 s\)") as refused:
        console.wait_open(3)
    console.close()
    assert "wrong-secret" not in str(refused.value)


def test_ipmi_has_to_be_allowed(bmc: Simulated, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is off"):
        ConsoleOverLan(replace(bmc.target, allowed=False), tmp_path / "console.log")


def test_a_real_bmc_has_a_console(pytestconfig: pytest.Config, tmp_path: Path) -> None:
    url = pytestconfig.getoption("--bmc-endpoint")
    if not url or "BMC_IPMI_PORT" not in os.environ:
        pytest.skip("no real BMC with IPMI is named (--bmc-endpoint, BMC_IPMI_PORT)")
    console = ConsoleOverLan(real_ipmi(url), tmp_path / "console.log")
    console.wait_open(60)
    console.close()
