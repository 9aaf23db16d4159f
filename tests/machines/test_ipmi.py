"""ipmitool against virtualbmc before a real machine."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from bmc_backends import LIBVIRT_URI, Emulated

from lab.errors import BadInput
from lab.hypervisors.model import PowerState
from lab.machines.ipmi import IpmiPower, IpmiTarget
from lab.machines.power import BmcError, Ending, shut_down
from lab.waiting import Deadline, DeadlineExceeded, wait_until

PASSWORD = "ipmi secret"
# Without its daemon: that one's control port asks nobody who he is.
SERVE = """
import os, sys
from virtualbmc.vbmc import VirtualBMC
VirtualBMC("admin", os.environ["PASSWORD"], int(sys.argv[1]), "127.0.0.1", sys.argv[2], sys.argv[3]).listen()
"""
TARGET = IpmiTarget("127.0.0.1", "admin", PASSWORD, allowed=True)


@pytest.fixture(scope="module")
def target(emulated_bmc: Emulated) -> Iterator[IpmiTarget]:
    if shutil.which("ipmitool") is None:
        pytest.skip("ipmitool is not installed")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-c", SERVE, str(port), emulated_bmc.domain, LIBVIRT_URI]
    process = subprocess.Popen(command, env={**os.environ, "PASSWORD": PASSWORD}, stderr=subprocess.DEVNULL)
    found = replace(TARGET, port=port)
    try:
        wait_until(lambda: answers(found), Deadline.after(60), "virtualbmc")
        yield found
        IpmiPower(found).power_off(soon())
    finally:
        process.kill()
        process.wait(10)


def answers(target: IpmiTarget) -> bool:
    try:
        return IpmiPower(target).state() is PowerState.OFF
    except BmcError:
        return False


def soon() -> Deadline:
    return Deadline.after(60)


@pytest.mark.qemu
def test_power_over_ipmi(target: IpmiTarget, emulated_bmc: Emulated) -> None:
    power, before = IpmiPower(target), len(emulated_bmc.booted())
    with pytest.raises(BmcError, match="is off"):
        power.reset(soon())
    power.power_on(soon())
    power.power_on(soon())
    assert power.state() is PowerState.ON
    wait_until(lambda: len(emulated_bmc.booted()) == before + 1, soon(), "boot")
    power.reset(soon())
    wait_until(lambda: len(emulated_bmc.booted()) == before + 2, soon(), "second boot")
    assert shut_down(power, Deadline.after(1), soon()) is Ending.FORCED
    assert power.state() is PowerState.OFF


@pytest.mark.qemu
def test_a_wrong_password_is_refused_and_not_shown(target: IpmiTarget) -> None:
    with pytest.raises(BmcError) as refused:
        IpmiPower(replace(target, password="wrong-and-secret")).state()
    assert "wrong-and-secret" not in str(refused.value)
    assert "wrong-and-secret" not in repr(replace(target, password="wrong-and-secret"))


def test_ipmi_is_off_unless_asked_for_and_takes_no_options_as_names() -> None:
    with pytest.raises(BadInput, match="is off: it gives a password's hash away"):
        IpmiPower(replace(TARGET, allowed=False))
    for wrong in ({"host": "-h"}, {"user": "-P"}, {"host": "a b"}, {"host": ""}):
        with pytest.raises(BadInput, match="is no name"):
            IpmiPower(replace(TARGET, **wrong))


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
