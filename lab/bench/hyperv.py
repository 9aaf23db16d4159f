"""How fast the emulated Hyper-V host answers one command on a kept shell, over TLS and NTLM.

The host is a process of its own; its machines are not started by libvirt here. A command is three exchanges of WinRM:
begin, receive, terminate.
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

from lab.bench.rows import Row, within
from lab.emulators.common.home import ENDPOINT
from lab.emulators.hyperv.run import PASSWORD_VARIABLE
from lab.hypervisors.hyperv import HypervHypervisor, Target, Trust, connect
from lab.hypervisors.hyperv.script import Cmdlet, Enum, Pipeline
from lab.waiting import Deadline, wait_until

NAME = "hyperv-command"
GOAL_MS = 10.0
COMMANDS = 100
START_SECONDS = 60.0
QUERY = {"found": [Pipeline(Cmdlet("Get-VM", {}), select=("Name", Enum("State")))]}


def hyperv_command(turns: int) -> Row:
    """Measure the median of some commands, in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="bench-hyperv-") as folder, _host(Path(folder)) as host:
        medians = [_median_ms(host) for _ in range(turns)]
    spread = (max(medians) - min(medians)) / GOAL_MS if turns > 1 else None
    return replace(within(NAME, "ms", median(medians), GOAL_MS), n=turns, spread=spread)


def _median_ms(host: HypervHypervisor) -> float:
    host.site.session.run("warm-up", QUERY)
    found = []
    for _ in range(COMMANDS):
        begin = time.perf_counter()
        rows = host.site.session.run("bench", QUERY)
        found.append((time.perf_counter() - begin) * 1000)
        if rows != {"found": []}:
            raise RuntimeError(f"machines that nobody made: {rows}")
    return median(found)


@contextmanager
def _host(home: Path) -> Iterator[HypervHypervisor]:
    password = os.urandom(16).hex()
    command = [sys.executable, "-m", "lab.emulators.hyperv", "--home", str(home), "--acceleration", "memory"]
    with subprocess.Popen(command, env=os.environ | {PASSWORD_VARIABLE: password}) as process:
        try:
            said = home / ENDPOINT
            wait_until(said.exists, Deadline.after(START_SECONDS), "emulated Hyper-V host", every=0.05)
            endpoint = json.loads(said.read_text(encoding="utf-8"))
            trust, exchange = Trust(Path(endpoint["certificate"])), Path(endpoint["exchange"])
            host = connect(
                Target("127.0.0.1", endpoint["port"], endpoint["user"], password, trust, exchange), "b", home
            )
            yield host
            host.close()
        finally:
            process.terminate()
