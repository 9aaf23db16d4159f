"""What is kept of every machine after a run: serial console, journal, logs of the stack."""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.errors import LabError
from lab.hypervisors.model import PowerState
from lab.machines.console import console_tail
from lab.provision.lab import Lab
from lab.provision.login import origin_of

LOG_SECONDS = 60.0
JOURNALS = {"journal.log": ("-b",), "stack.log": ("-u", "recovery-*", "-b")}


def collect(lab: Lab, folder: Path) -> None:
    """Save the files of every machine below ``folder``; a machine that does not answer leaves its console and why."""
    names = lab.names()
    with ThreadPoolExecutor(max(1, len(names)), thread_name_prefix="artifacts") as pool:
        list(pool.map(lambda name: _collect_machine(lab, name, folder / name), names))
    for log in sorted(lab.folder.processes.glob("*.log")):
        shutil.copyfile(log, folder / log.name)


def _collect_machine(lab: Lab, name: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    control = lab.control(name)
    console = control.console
    if console.exists():
        shutil.copyfile(console, folder / "console.log")
    try:
        if control.power() is not PowerState.ON:
            return
        ssh = lab.machine(name, identity_of=origin_of(name)).ssh
        for file, arguments in JOURNALS.items():
            text = ssh.check("journalctl", "--no-pager", "-o", "short-precise", *arguments, seconds=LOG_SECONDS)
            (folder / file).write_text(text, encoding="utf-8")
    except (LabError, TimeoutError, OSError) as error:
        (folder / "not-collected.txt").write_text(f"{error}\n{console_tail(console)}\n", encoding="utf-8")
