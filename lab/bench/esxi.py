"""How fast the emulated ESXi host answers: property reads one by one, and a hundred machines in one round trip.

The host is a process of its own, reached over TLS. Its machines are not started by QEMU here: a read does not touch
QEMU in either case.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from statistics import median

from pyVmomi import vim

from lab.bench.rows import Row, beyond, within
from lab.emulators.common.home import ENDPOINT
from lab.emulators.esxi.run import PASSWORD_VARIABLE
from lab.hypervisors.esxi import EsxiHypervisor, Target, Trust, connect
from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Management, Nic
from lab.waiting import Deadline, wait_until

READS, LIST = "esxi-emulator-reads", "esxi-emulator-list"
READS_GOAL, LIST_GOAL = 1000.0, 0.5
MACHINES = 100
READ_SECONDS = 2.0
START_SECONDS = 30.0
MIB = 1 << 20


def esxi_emulator(turns: int) -> list[Row]:
    """Measure both rows in one emulated host."""
    with tempfile.TemporaryDirectory(prefix="bench-esxi-") as folder, _host(Path(folder)) as host:
        _fill(host)
        rates = [_reads_per_second(host) for _ in range(turns)]
        lists = [_list_seconds(host) for _ in range(turns)]
    spread = max(lists) / LIST_GOAL - min(lists) / LIST_GOAL if turns > 1 else None
    return [
        beyond(READS, "1/s", rates, READS_GOAL),
        replace(within(LIST, "s", median(lists), LIST_GOAL), n=turns, spread=spread),
    ]


@contextmanager
def _host(home: Path) -> Iterator[EsxiHypervisor]:
    password = os.urandom(16).hex()
    command = [sys.executable, "-m", "lab.emulators.esxi", "--home", str(home), "--acceleration", "memory"]
    with subprocess.Popen(command, env=os.environ | {PASSWORD_VARIABLE: password}) as process:
        try:
            said = home / ENDPOINT
            wait_until(said.exists, Deadline.after(START_SECONDS), "emulated ESXi host", every=0.05)
            endpoint = json.loads(said.read_text(encoding="utf-8"))
            trust = Trust(Path(endpoint["certificate"]))
            host = connect(Target("127.0.0.1", endpoint["port"], endpoint["user"], password, trust), "bench", home)
            yield host
            host.close()
        finally:
            process.terminate()


def _fill(host: EsxiHypervisor) -> None:
    for number in range(MACHINES):
        name, octets = f"m{number:03}", f"00:{number // 256:02x}:{number % 256:02x}"
        disk = DiskId(f"{name}-system")
        host.create_disk(disk, MIB)
        nics = (Nic("primary", f"52:54:01:{octets}"),)
        management = Management(f"52:54:00:{octets}")
        host.define(MachineSpec(name, 1, 64, (DiskAttachment(disk, "system"),), nics, management))
        if number % 2:
            host.power_on(name)


def _reads_per_second(host: EsxiHypervisor) -> float:
    """Read single properties, each a call of its own, from one client for some seconds."""
    references = [read.ref for read in host.site.session.read_all(vim.VirtualMachine, ["name"])]
    count, begin = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - begin) < READ_SECONDS:
        if not references[count % MACHINES].name:
            raise RuntimeError("a machine has no name")
        count += 1
    return count / elapsed


def _list_seconds(host: EsxiHypervisor) -> float:
    """List every machine with name, power, disks, and of each card the network and address."""
    begin = time.perf_counter()
    found = host.site.found()
    endpoints = [item.endpoint(frozenset({host.site.placement.management})) for item in found]
    machines = [item.machine for item in found]
    elapsed = time.perf_counter() - begin
    if len(machines) != MACHINES or None in endpoints or not all(machine.disks for machine in machines):
        raise RuntimeError("the list is not whole")
    return elapsed
