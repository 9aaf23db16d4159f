"""Another build of the reference stack over the one that a lab's servers have: its files, and every service again.

What only an installation does is not done again: certificates, registrations and databases stay. Protected machines get
the new build when the process server pushes it, so it has to be done before that.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from lab.errors import LabError
from lab.provision.board import Board
from lab.provision.lab import Lab, LabMachine
from lab.replication.package import build_package
from lab.stacks.reference.components import CONFIGURATION_SERVER, ETC, configuration_server_name
from lab.stacks.reference.deploy import INSTALL_SECONDS, PUSH_FOLDER, WORK, run_installer, send_package
from lab.stacks.reference.fabrics import wait_configuration_server
from lab.topology.machines import Role
from lab.waiting import Deadline

# The configuration server first: whoever starts again calls it.
KINDS = (CONFIGURATION_SERVER, Role.PROCESS_SERVER.value, Role.MASTER_TARGET.value)


def reinstall(lab: Lab, board: Board) -> None:
    """Put this build of the stack on every server of a lab whose protected machines have no agent yet.

    Fabrics run on this host, from the build that has started them: whoever calls this has started them already.

    Raises:
        LabError: a step failed; the message names the machine and quotes the installer.
        DeadlineExceeded: the configuration server does not answer with the new build.
    """
    if lab.topology.azure is not None or lab.topology.stack.protect_from_host:
        raise LabError(f"{lab.topology.name}: only stacks of servers and agents can be installed over another build")
    package = lab.folder.stack / "package.tar.gz"
    build_package(package)
    content = package.read_bytes()
    first = configuration_server_name(lab.topology)
    _replace(lab.machine(first), content, board)
    wait_configuration_server(lab.machine(first), Deadline.after(INSTALL_SECONDS))
    others = {name for role in (Role.PROCESS_SERVER, Role.MASTER_TARGET) for name in lab.topology.machines_with(role)}
    names = sorted(others - {first})
    with ThreadPoolExecutor(max(1, len(names)), thread_name_prefix="reinstall") as pool:
        list(pool.map(lambda name: _replace(lab.machine(name), content, board), names))


def _replace(machine: LabMachine, package: bytes, board: Board) -> None:
    board.step(f"{machine.name} stack", "another build")
    send_package(machine, package)
    for kind in _installed(machine):
        run_installer(machine, kind, f"{ETC}/{kind}.json")
        if kind == Role.PROCESS_SERVER.value:
            machine.ssh.put(package, f"{PUSH_FOLDER}/package.tar.gz", mode=0o600)
    machine.ssh.check("rm", "-rf", WORK)
    board.step(f"{machine.name} stack", "ready")


def _installed(machine: LabMachine) -> list[str]:
    """Return the services of the stack that a machine has. Raises LabError when an agent is among them, or none is."""
    units = machine.ssh.check("find", "/etc/systemd/system", "-maxdepth", "1", "-name", "recovery-*.service")
    there = {line.rpartition("/recovery-")[2].removesuffix(".service") for line in units.split()}
    if not there or not there <= set(KINDS):
        raise LabError(
            f"{machine.name} has {', '.join(sorted(there)) or 'nothing of the stack'}: not a server to renew"
        )
    return [kind for kind in KINDS if kind in there]
