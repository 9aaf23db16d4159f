"""Row ``failover``: from the request to the application's answer, against booting an untouched clone of the disks.

The source has lost its power before either. A clone has what the source had, under the same hypervisor, with the
cards of a test copy. It boots before the failover is asked for and again after it, and is gone in between: on a busy
computer one boot took three times as long as another. Copying its disks is not part of its time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

from lab.bench.equipped import data_disk, protected_disks
from lab.bench.protecting import protect
from lab.bench.rows import Row, close_to_limit
from lab.errors import BadInput
from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Nic
from lab.hypervisors.protocols import Exporting, NotFound
from lab.machines.ssh import SshTransport
from lab.provision.blueprint import blueprint, disk_id
from lab.provision.board import Board
from lab.provision.lab import Lab, LabMachine
from lab.stacks.adapters import deployed
from lab.stacks.jobs import Job
from lab.stacks.machines import Operation
from lab.stacks.protocol import Stack
from lab.topology.model import Topology
from lab.topology.naming import mac_for
from lab.waiting import Deadline, wait_until

NAME = "failover"
GOAL = 1.2
SECONDS = 900.0
START_SECONDS = 60.0
PORT = 18080
UNIT = "lab-bench-application.service"
FILE = "lab-bench-health"
ANSWER = "the application answers"
_UNIT = """[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory {folder} {port}
[Install]
WantedBy=multi-user.target
"""
_ASK = f"exec 3<>/dev/tcp/127.0.0.1/{PORT} && printf 'GET /{FILE} HTTP/1.0\\r\\n\\r\\n' >&3 && timeout 5 cat <&3"


def failover(lab: Lab, board: Board, turns: int) -> Row:
    """Protect machines and fail them over, one in each turn; they stay failed over. Raises LabError."""
    names = list(lab.topology.stack.protect)[:turns]
    for name in names:
        clone_spec(lab.topology, name)  # what cannot be compared is found before anything is installed
    with deployed(lab, board) as stack:
        stack.set_up()
        for name in names:
            protect(stack, lab, name, board)
        pairs = [_turn(stack, lab, name, board) for name in names]
    return close_to_limit(NAME, "s", pairs, GOAL)


def _turn(stack: Stack, lab: Lab, name: str, board: Board) -> tuple[float, float]:
    machine = lab.machine(name)
    _install(machine.ssh, str(data_disk(lab.topology, name).mount))
    _point_with_everything(stack, lab, name)
    machine.power_off()
    before = _clone_answers(lab, name, board)
    board.step(f"{name} failover", "asked for")
    begin = time.monotonic()
    job = stack.run(name, Operation.FAILOVER, Deadline.after(SECONDS), {"recovery_point": "latest"})
    ours = _answered(lab.machine(f"{name}-replica", identity_of=name), begin)
    board.step(f"{name} failover", f"answered after {ours:.1f} s; {steps_told(job)}")
    after = _clone_answers(lab, name, board)
    board.step(f"{name} failover", "ready")
    return ours, (before + after) / 2


def _clone_answers(lab: Lab, name: str, board: Board) -> float:
    with _clone(lab, name) as clone:
        begin = time.monotonic()
        clone.power_on()
        seconds = _answered(clone, begin)
    board.step(f"clone of {name}", f"answered after {seconds:.1f} s")
    return seconds


def steps_told(job: Job) -> str:
    """Return how long each step of a job took, for whoever looks on. Pure."""
    return ", ".join(
        f"{step.name} {((step.ended_ns or step.started_ns) - step.started_ns) / 1e9:.1f}" for step in job.steps
    )


def _install(ssh: SshTransport, folder: str) -> None:
    """Put an application on a machine that is there again after each boot: it answers with a file of the data disk."""
    ssh.put(f"{ANSWER}\n".encode(), f"{folder}/{FILE}")
    ssh.put(_UNIT.format(folder=folder, port=PORT).encode(), f"/etc/systemd/system/{UNIT}", mode=0o644)
    ssh.check("systemctl", "enable", "--now", UNIT)
    ssh.check("sync")
    wait_until(lambda: _answers(ssh), Deadline.after(START_SECONDS), f"application on {ssh.machine}", every=0.5)


def _point_with_everything(stack: Stack, lab: Lab, name: str) -> None:
    """Have a recovery point made of all that was written until now."""
    before = int(lab.machine(name).ssh.check("date", "+%s%N"))
    stack.cut_now(name, Deadline.after(SECONDS))
    stack.wait_recovery_point(name, before, Deadline.after(SECONDS))


def _answered(machine: LabMachine, begin: float) -> float:
    """Return the seconds from ``begin`` until the application answered. Raises NeverBooted, DeadlineExceeded."""
    deadline = Deadline.after(SECONDS)
    machine.wait_ready(deadline)
    wait_until(lambda: _answers(machine.ssh), deadline, f"application on {machine.name}", every=0.2)
    return time.monotonic() - begin


def _answers(ssh: SshTransport) -> bool:
    return ANSWER in ssh.run("bash", "-c", _ASK).stdout


@contextmanager
def _clone(lab: Lab, name: str) -> Iterator[LabMachine]:
    """Make a copy of a machine that is off, and remove it when the block ends."""
    spec = clone_spec(lab.topology, name)
    with tempfile.TemporaryDirectory(dir=lab.folder.path, prefix="clone-") as folder:
        Path(folder).chmod(0o711)  # QEMU reads what the clone's disks lie over
        try:
            _copy_disks(lab, name, spec, Path(folder))
            lab.hypervisor.define(spec)
            yield lab.machine(spec.name, identity_of=name)
        finally:
            _remove(lab, spec)


def _copy_disks(lab: Lab, name: str, spec: MachineSpec, folder: Path) -> None:
    """Copy what is replicated; the change log of a clone is empty, as that of a replica is."""
    exporting = cast("Exporting", lab.hypervisor)  # every one of a real lab can
    replicated = {disk_id(name, disk) for disk in protected_disks(lab.topology.machines[name])}
    plan = blueprint(lab.topology, name)
    for mine, copy in zip(plan.spec.disks, spec.disks, strict=True):
        if mine.disk not in replicated:
            lab.hypervisor.create_disk(copy.disk, plan.disk_sizes[mine.disk])
            continue
        file = folder / f"{copy.disk.name}.raw"
        exporting.export_disk(mine.disk, file)
        lab.hypervisor.import_disk(copy.disk, file, file.stat().st_size)


def clone_spec(topology: Topology, name: str) -> MachineSpec:
    """Return a machine like another one, with disks of its own and the cards of a test copy, which reach nobody.

    Raises BadInput without a network for test copies: on another one the clone's agent would call the servers.
    """
    spec, replica = blueprint(topology, name).spec, topology.machines[name].replica
    if replica is None or not replica.test_interfaces:
        raise BadInput(f"{topology.source}: {name} needs test_interfaces: its clone is to meet nobody")
    return replace(
        spec,
        name=f"{name}-clone",
        disks=tuple(DiskAttachment(DiskId(f"clone-{each.disk.name}"), each.serial) for each in spec.disks),
        nics=tuple(
            Nic(card.network, mac_for(topology.name, name, f"test-{card.network}")) for card in replica.test_interfaces
        ),
        saveable=False,
    )


def _remove(lab: Lab, spec: MachineSpec) -> None:
    lab.forget(spec.name)
    with suppress(NotFound):
        lab.hypervisor.power_off(spec.name)
        lab.hypervisor.undefine(spec.name)
    for each in spec.disks:
        with suppress(NotFound):
            lab.hypervisor.delete_disk(each.disk)
