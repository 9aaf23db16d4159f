"""OpenIPMI's simulator (Debian's ``openipmi``): power in a file, and a serial console over LAN that tests write to."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from lab.hypervisors.model import PowerState
from lab.machines.ipmi import IpmiPower, IpmiTarget
from lab.machines.power import BmcError
from lab.waiting import Deadline, wait_until

SIMULATOR = shutil.which("ipmi_sim")
PASSWORD = "secret"
CIPHER_SUITE = 3
"""The only one that it has; asked for others it does not answer for 5 s."""
CONFIGURATION = """
name "simulated"
set_working_mc 0x20
  startlan 1
    addr 127.0.0.1 {port}
    priv_limit admin
    allowed_auths_admin none md2 md5
    guid a123456789abcdefa123456789abcdef
  endlan
  chassis_control "{folder}/chassis 0x20"
  sol "tcp:127.0.0.1:{serial}" 115200
  user 2 true "admin" "{password}" admin 10 none md2 md5
"""
MACHINE = "mc_setbmc 0x20\nmc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02\nmc_enable 0x20\n"
# Called as: chassis 0x20 get power | chassis 0x20 set power 0|1.
CHASSIS = """#!/bin/sh
case "$2 $3" in
"get power") echo "power:$(cat {folder}/power)" ;;
"set power") echo "$4" >{folder}/power ;;
esac
"""


@dataclass
class Serial:
    """The machine's end of the serial line: the simulator connects to it."""

    server: socket.socket
    _line: socket.socket | None = None
    _connected: threading.Event = field(default_factory=threading.Event)

    def accept(self) -> None:
        self._line, _ = self.server.accept()
        self._connected.set()

    def print(self, text: str) -> None:
        assert self._connected.wait(30), "the simulator did not open the serial line"
        assert self._line is not None
        self._line.sendall(text.encode())

    def close(self) -> None:
        for end in (self._line, self.server):
            if end is not None:
                end.close()


@dataclass(frozen=True)
class Simulated:
    target: IpmiTarget
    serial: Serial


@contextmanager
def simulated(folder: Path) -> Iterator[Simulated]:
    """Start the simulator; its machine is off."""
    assert SIMULATOR is not None
    serial = Serial(socket.create_server(("127.0.0.1", 0)))
    threading.Thread(target=serial.accept, daemon=True).start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    facts = {"port": port, "serial": serial.server.getsockname()[1], "folder": folder, "password": PASSWORD}
    (folder / "lan.conf").write_text(CONFIGURATION.format(**facts))
    (folder / "commands").write_text(MACHINE)
    (folder / "chassis").write_text(CHASSIS.format(folder=folder))
    (folder / "chassis").chmod(0o755)
    (folder / "power").write_text("0\n")
    (folder / "state").mkdir()
    line = [SIMULATOR, "-n", "-c", "lan.conf", "-f", "commands", "-s", "state"]
    process = subprocess.Popen(line, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    target = IpmiTarget("127.0.0.1", "admin", PASSWORD, port, allowed=True, cipher_suite=CIPHER_SUITE)
    try:
        wait_until(lambda: _off(target), Deadline.after(60), "simulator")
        yield Simulated(target, serial)
    finally:
        process.terminate()
        process.wait(10)
        serial.close()


def _off(target: IpmiTarget) -> bool:
    try:
        return IpmiPower(target).state() is PowerState.OFF
    except BmcError:
        return False
