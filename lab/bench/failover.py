"""Row ``failover``: from the request to the application's answer, against booting an untouched clone of the disks.

The source has lost its power before either. The clone has what the source had, under the same hypervisor, on a network
that nothing else is on, and is gone before the failover is asked for.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from lab.bench.replication import data_disk, protect
from lab.bench.rows import Row, close_to_limit
from lab.errors import BadInput
from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Nic
from lab.hypervisors.protocols import NotFound
from lab.machines.ssh import SshTransport
from lab.provision.blueprint import blueprint
from lab.provision.board import Board
from lab.provision.lab import Lab, LabMachine
from lab.saved.take import saving_host
from lab.stacks.adapters import deployed
from lab.stacks.protocol import Operation, Stack
from lab.topology.model import SwitchNetwork, Topology
from lab.waiting import Deadline, wait_until

NAME = "failover"
GOAL = 1.2
SECONDS = 900.0
START_SECONDS = 60.0
PORT = 18080
UNIT = "lab-bench-application.service"
FILE = "lab-bench-health"
ANSWER = "the application answers"
_UNIT = """[Unit]
RequiresMountsFor={folder}
[Service]
ExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 --directory {folder} {port}
[Install]
WantedBy=multi-user.target
"""
_ASK = f"exec 3<>/dev/tcp/127.0.0.1/{PORT} && printf 'GET /{FILE} HTTP/1.0\\r\\n\\r\\n' >&3 && timeout 5 cat <&3"


def failover(lab: Lab, board: Board, turns: int) -> Row:
    """Protect machines and fail them over, one in each turn; they stay failed over. Raises LabError."""
    names = list(lab.topology.stack.protect)[:turns]
    isolated_network(lab.topology)
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
    with _clone(lab, name) as clone:
        begin = time.monotonic()
        clone.power_on()
        limit = _answered(clone, begin)
    board.step(f"clone of {name}", f"answered after {limit:.1f} s")
    board.step(f"{name} failover", "asked for")
    begin = time.monotonic()
    stack.run(name, Operation.FAILOVER, Deadline.after(SECONDS), {"recovery_point": "latest"})
    ours = _answered(lab.machine(f"{name}-replica", identity_of=name), begin)
    board.step(f"{name} failover", f"answered after {ours:.1f} s")
    board.step(f"{name} failover", "ready")
    return ours, limit


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
        Path(folder).chmod(0o711)
        try:
            source = blueprint(lab.topology, name)
            for mine, copy in zip(source.spec.disks, spec.disks, strict=True):
                file = Path(folder) / f"{copy.disk.name}.img"
                saving_host(lab).saving.save_disk(mine.disk, file)
                lab.hypervisor.import_disk(copy.disk, file, source.disk_sizes[mine.disk])
            lab.hypervisor.define(spec)
            yield lab.machine(spec.name, identity_of=name)
        finally:
            _remove(lab, spec)


def clone_spec(topology: Topology, name: str) -> MachineSpec:
    """Return a machine as another one is, with its own disks; what it sends reaches nobody."""
    spec = blueprint(topology, name).spec
    alone = isolated_network(topology)
    return replace(
        spec,
        name=f"{name}-clone",
        disks=tuple(DiskAttachment(DiskId(f"clone-{each.disk.name}"), each.serial) for each in spec.disks),
        nics=tuple(Nic(alone, nic.mac) for nic in spec.nics),
    )


def isolated_network(topology: Topology) -> str:
    """Return a network that nothing but test copies is on. Raises BadInput without one."""
    for name, network in topology.networks.items():
        if isinstance(network, SwitchNetwork) and network.isolated:
            return name
    raise BadInput(f"{topology.source}: a clone needs a network with 'isolated: true', where it meets nobody")


def _remove(lab: Lab, spec: MachineSpec) -> None:
    lab.forget(spec.name)
    with suppress(NotFound):
        lab.hypervisor.power_off(spec.name)
        lab.hypervisor.undefine(spec.name)
    for each in spec.disks:
        with suppress(NotFound):
            lab.hypervisor.delete_disk(each.disk)
