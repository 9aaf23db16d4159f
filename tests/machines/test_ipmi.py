"""What IPMI alone has: a password, a permission, no console at an emulated BMC. Power: test_bmc_contract."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
from bmc_backends import EmulatedByIpmi

from lab.errors import BadInput
from lab.hypervisors.model import PowerState
from lab.machines.ipmi import IpmiPower, IpmiTarget, command
from lab.machines.power import BmcError
from lab.machines.serial_over_lan import ConsoleOverLan
from lab.waiting import Deadline, DeadlineExceeded

PASSWORD = "ipmi secret"
TARGET = IpmiTarget("127.0.0.1", "admin", PASSWORD, allowed=True)


@pytest.fixture
def target(ipmi_bmc: EmulatedByIpmi) -> IpmiTarget:
    return ipmi_bmc.ipmi


@pytest.mark.qemu
def test_a_wrong_password_is_refused_and_not_shown(target: IpmiTarget) -> None:
    IpmiPower(target).state()
    with pytest.raises(BmcError) as refused:
        IpmiPower(replace(target, password="wrong-and-secret")).state()
    assert "wrong-and-secret" not in str(refused.value)
    assert "wrong-and-secret" not in repr(replace(target, password="wrong-and-secret"))


@pytest.mark.qemu
def test_a_console_over_lan_is_refused_by_the_emulated_bmc(target: IpmiTarget, tmp_path: Path) -> None:
    """virtualbmc has none, and says so: the console is libvirt's file."""
    console = ConsoleOverLan(target, tmp_path / "console")
    with pytest.raises(BmcError, match=r"no serial console over LAN .* SOL payload (type )?disabled"):
        console.wait_open(90)
    console.close()


@pytest.mark.qemu
def test_a_suite_that_the_bmc_does_not_have_is_refused_and_not_replaced(target: IpmiTarget) -> None:
    with pytest.raises(BmcError, match="is not what we requested"):
        IpmiPower(replace(target, cipher_suite=17)).state()
    assert IpmiPower(replace(target, cipher_suite=None)).state() is IpmiPower(target).state()


def test_a_known_suite_is_not_asked_for() -> None:
    assert "-C" not in command(TARGET, "chassis")
    line = command(replace(TARGET, cipher_suite=3), "chassis")
    assert line[line.index("-C") + 1] == "3"


def test_ipmi_is_off_unless_asked_for_and_takes_no_options_as_names() -> None:
    with pytest.raises(BadInput, match="is off: it gives a password's hash away"):
        IpmiPower(replace(TARGET, allowed=False))
    for wrong in ({"host": "-h"}, {"user": "-P"}, {"host": "a b"}, {"host": ""}):
        with pytest.raises(BadInput, match="is no name"):
            IpmiPower(replace(TARGET, **wrong))
    with pytest.raises(BadInput, match="longer than 20 bytes"):
        IpmiPower(replace(TARGET, password="x" * 21))


def test_the_password_is_in_the_environment_of_ipmitool_and_not_in_its_arguments(tmp_path, monkeypatch) -> None:
    """A program that stands in for ipmitool says how it was called."""
    tool = tmp_path / "ipmitool"
    tool.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" "$IPMI_PASSWORD" >{tmp_path}/called\necho Chassis Power is on\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    power = IpmiPower(TARGET)
    assert power.state() is PowerState.ON
    *arguments, password = (tmp_path / "called").read_text().splitlines()
    assert password == PASSWORD
    assert "-E" in arguments
    assert PASSWORD not in arguments
    with pytest.raises(DeadlineExceeded, match="the BMC still says 'on'"):
        power.power_off(Deadline.after(0.3))
    tool.write_text("#!/bin/sh\necho something else\n")
    with pytest.raises(BmcError, match="is not understood: something else"):
        power.state()


TOOL = """#!/bin/sh
case "$*" in
*" status") [ ! -e {0}/busy ] || { rm {0}/busy; echo "Unable to establish IPMI v2 / RMCP+ session" >&2; exit 1; }
	echo "Chassis Power is $(cat {0}/power)" ;;
*) echo on >{0}/power; touch {0}/busy; echo "{1}" >&2; exit 1 ;;
esac
"""


def stand_in(folder: Path, says: str, monkeypatch: pytest.MonkeyPatch) -> IpmiPower:
    """Stand in for ipmitool: the machine goes on, the BMC is silent for one look, and the answer is ``says``."""
    (folder / "power").write_text("off\n")
    tool = folder / "ipmitool"
    tool.write_text(TOOL.replace("{0}", str(folder)).replace("{1}", says))
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return IpmiPower(TARGET)


def test_a_bmc_that_is_silent_while_it_starts_the_machine_is_looked_at_again(tmp_path, monkeypatch) -> None:
    power = stand_in(tmp_path, "Unable to set Chassis Power Control to Up/On", monkeypatch)
    power.power_on(Deadline.after(20))
    assert power.state() is PowerState.ON


def test_a_change_that_is_refused_is_no_silence(tmp_path, monkeypatch) -> None:
    power = stand_in(tmp_path, "Set Chassis Power Control to Up/On failed: Node busy", monkeypatch)
    with pytest.raises(BmcError, match="failed: Node busy"):
        power.power_on(Deadline.after(20))


LATE = """#!/bin/sh
echo asked >>{0}/asked
if [ $(wc -l <{0}/asked) -lt {1} ]; then
	echo "Received an Unexpected Open Session Response" >&2
	echo "Error: Unable to establish IPMI v2 / RMCP+ session" >&2
	exit 1
fi
echo "Chassis Power is on"
"""


@pytest.mark.parametrize(("answers_at", "heard"), [(3, True), (4, False)])
def test_an_answer_that_came_late_is_asked_for_again_and_not_for_ever(tmp_path, monkeypatch, answers_at, heard) -> None:
    power = stand_in(tmp_path, "", monkeypatch)
    (tmp_path / "ipmitool").write_text(LATE.replace("{0}", str(tmp_path)).replace("{1}", str(answers_at)))
    if heard:
        assert power.state() is PowerState.ON
        return
    with pytest.raises(BmcError, match="Unexpected Open Session Response"):
        power.state()
    assert (tmp_path / "asked").read_text().count("asked") == answers_at - 1
