"""The machines of a saved lab as bare QEMU processes that load the same files: the limit for a lab that goes on."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.bench.bare import end_all
from lab.errors import LabError
from lab.hypervisors.image import inspect_image
from lab.logs import last_characters
from lab.machines.ssh import Login, SshTransport
from lab.networks import qmp
from lab.networks.protocol import NetworkError
from lab.provision.blueprint import blueprint
from lab.provision.lab import Lab
from lab.saved.store import Entry
from lab.saved.take import disk_file, machine_files
from lab.waiting import Deadline, wait_until

START_SECONDS = 60.0
_LEFT_OUT = {"-sandbox": 1, "-S": 0}
"""Options of libvirt, with how many words follow: QEMU itself has to read the state's file."""


@dataclass(frozen=True)
class Loading:
    """A process that loads: its command line, its monitor, the file with the state, and how to log in afterwards."""

    name: str
    command: tuple[str, ...]
    monitor: Path
    state: Path
    ssh: SshTransport


def prepared(lab: Lab, entry: Entry, folder: Path) -> list[Loading]:
    """Make all files in ``folder`` while the lab is up, whose command lines are libvirt's own. Raises LabError."""
    key = folder / "login"
    shutil.copy2(lab.folder.login_key, key)
    shutil.copytree(lab.folder.seeds, folder / "seeds")
    for part in ("disks", "consoles"):
        (folder / part).mkdir()
    found = []
    for name in lab.topology.machines:
        for attachment in blueprint(lab.topology, name).spec.disks:
            _overlay(disk_file(entry.folder, attachment.disk.name), folder / "disks" / f"{attachment.disk.name}.img")
        state, memory = machine_files(entry.folder, name)
        monitor = folder / f"{name}.monitor"
        native = lab.hypervisor.saving.native_command(name, memory)  # type: ignore[attr-defined]  # libvirt's only
        command = bare_command(native.replace(f"{lab.folder.path}/", f"{folder}/"), monitor, name)
        login = Login("root", key, lab.state.host_keys[name])
        ssh = SshTransport(name, lab.hypervisor.endpoint(name), login)
        found.append(Loading(name, tuple(command), monitor, state, ssh))
    return found


def bare_command(native: str, monitor: Path, name: str) -> list[str]:
    """Return libvirt's command line as one that anybody can run: own monitor, own tap devices, no sandbox. Pure."""
    words = shlex.split(native)
    words = words[next(place for place, word in enumerate(words) if "=" not in word) :]
    found: list[str] = []
    skip = 0
    for place, word in enumerate(words):
        if skip:
            skip -= 1
        elif word in _LEFT_OUT:
            skip = _LEFT_OUT[word]
        elif word == "-object" and "masterKey" in words[place + 1]:
            skip = 1
        else:
            found.append(_bare_word(word, monitor, name))
    return found


def _bare_word(word: str, monitor: Path, name: str) -> str:
    if word.startswith("socket,id=charmonitor"):
        return f"socket,id=charmonitor,path={monitor},server=on,wait=off"
    if word.startswith('{"type":"tap"'):
        card = json.loads(word)
        # Up on no bridge: nothing goes anywhere.
        card = {"type": "tap", "id": card["id"], "ifname": f"{name[:6]}-{card['id'][-2:]}"}
        return json.dumps({**card, "script": "no", "downscript": "no"})
    return word


@contextmanager
def loading(machines: Sequence[Loading]) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start the processes side by side; end them by their ids when the block ends."""
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for machine in machines:
            log = machine.monitor.with_suffix(".log")
            with log.open("wb") as file:
                processes.append(
                    subprocess.Popen(
                        ["setpriv", "--pdeathsig", "KILL", *machine.command],
                        stdin=subprocess.DEVNULL,
                        stdout=file,
                        stderr=file,
                        env={**os.environ, "LC_ALL": "C"},
                    )
                )
        yield processes
    finally:
        for machine in machines:
            machine.ssh.close()
        end_all(processes)


def load(machine: Loading, deadline: Deadline) -> None:
    """Have a process load its state, run, and let us log in. Raises LabError, DeadlineExceeded."""
    wait_until(lambda: _answers(machine), deadline, f"monitor of {machine.name}", every=0.02)
    try:
        capabilities = [{"capability": "x-ignore-shared", "state": True}]
        qmp.execute(machine.monitor, "migrate-set-capabilities", capabilities=capabilities)
        qmp.execute(machine.monitor, "migrate-incoming", uri=f"exec:cat {shlex.quote(str(machine.state))}")
        wait_until(lambda: _loaded(machine), deadline, f"state of {machine.name}", every=0.02)
        qmp.execute(machine.monitor, "cont")
    except NetworkError as error:
        said = last_characters(machine.monitor.with_suffix(".log"))
        raise LabError(f"bare {machine.name} did not load its state: {error}: {said}") from error
    machine.ssh.wait_ready(deadline)


def _answers(machine: Loading) -> bool:
    """Return whether the monitor takes commands; its socket is there before anybody listens."""
    try:
        qmp.execute(machine.monitor, "query-status")
    except NetworkError:
        return False
    return True


def _loaded(machine: Loading) -> bool:
    return bool(qmp.execute(machine.monitor, "query-migrate").get("status") == "completed")


def _overlay(backing: Path, path: Path) -> None:
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(backing), "-F", inspect_image(backing)[0]]
    try:
        subprocess.run([*command, str(path)], check=True, capture_output=True, text=True, timeout=START_SECONDS)
    except (OSError, subprocess.CalledProcessError) as error:
        raise LabError(f"{path.name}: {getattr(error, 'stderr', error)}") from error
