"""Machines that are saved with their memory, and machines that go on from there.

Not libvirt's own save: it is slow to restore, wants the old name back, and keeps a copy of the memory for each machine
(decision 0017). QEMU writes the devices' state without the memory, which is shared and copied by us; whoever goes on
maps that copy privately.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import libvirt
import libvirt_qemu

from lab.hypervisors.libvirt.describe import machine_of
from lab.hypervisors.libvirt.session import Session, switched, translated
from lab.hypervisors.libvirt.storage import Storage
from lab.hypervisors.libvirt.xml import MEMORY_ID, domain_name, going_on_document
from lab.hypervisors.model import DiskId
from lab.hypervisors.protocols import Conflict, HypervisorError
from lab.hypervisors.sparse import copy_sparse
from lab.networks.protocol import Switches
from lab.waiting import Deadline, wait_until

_STATE_FD = "lab-state"
_MEMORY_LINK = "/memfd:memory-backend-memfd"
_LOOK_EVERY = 0.02
_ENDS_BADLY = {"failed", "cancelled"}


@dataclass(frozen=True)
class LibvirtSaving:
    """Implements ``protocols.Saving`` over QEMU's monitor."""

    session: Session
    storage: Storage
    switches: Switches

    def platform(self) -> Mapping[str, str]:
        """Return versions of what a saved machine was made by."""
        with translated("versions"):
            library, qemu = self.session.connection.getLibVersion(), self.session.connection.getVersion()
        return {"libvirt": _version(library), "qemu": _version(qemu), "kernel": platform.release()}

    def pause(self, name: str) -> None:
        """Stop a machine's processors. Raises NotFound, Conflict."""
        with translated(f"pause of {name}"):
            self.session.find(name).suspend()

    def resume(self, name: str) -> None:
        """Let a paused machine run. Raises NotFound, Conflict."""
        with translated(f"resumption of {name}"):
            self.session.find(name).resume()

    def save(self, name: str, state: Path, memory: Path, deadline: Deadline) -> None:
        """Write a paused machine's devices and memory. Raises NotFound, Conflict, HypervisorError."""
        domain = self.session.find(name)
        with translated(f"state of {name}"):
            if domain.state()[0] != libvirt.VIR_DOMAIN_PAUSED:
                raise Conflict(f"machine {name}: has to be paused to be saved")
        process = _process(domain_name(self.session.lab, name))
        shared = _shared_memory(process, name)
        _leave_memory_out(domain, leave=True)
        try:
            with state.open("xb") as file:
                state.chmod(0o600)
                _hand_over(domain, file)
                _order(domain, "migrate", uri=f"fd:{_STATE_FD}")
                _wait_moved(domain, deadline, f"state of {name}")
        finally:
            _leave_memory_out(domain, leave=False)
        copy_sparse(shared, memory)
        owner = process.stat()
        # QEMU opens what it maps for writing, although it never writes there.
        os.chown(memory, owner.st_uid, owner.st_gid)

    def save_disk(self, disk: DiskId, target: Path) -> None:
        """Write a disk's own content to a new file. Raises NotFound, HypervisorError."""
        self.storage.find(disk)
        try:
            copy_sparse(self.storage.path(disk), target)
        except OSError as error:
            raise HypervisorError(f"disk {disk.name}: {error}") from error

    def go_on(self, name: str, state: Path, memory: Path, deadline: Deadline) -> None:
        """Start a machine that is off from what was saved; it is paused then, and has its power for one start only.

        Raises NotFound, Conflict, HypervisorError when QEMU does not take it.
        """
        domain = self.session.find(name)
        if domain.isActive():
            raise Conflict(f"machine {name}: is running")
        networks = [nic.network for nic in machine_of(domain, self.session).nics]
        with switched(f"machine {name}"):
            for network in networks:
                self.switches.ensure(network)
                self.switches.wire(network, name)
        document = going_on_document(self.session.document(domain, inactive=True), memory)
        with translated(f"start of {name} from its saved state"):
            # The definition stays as it is: the next start is an ordinary one.
            domain = self.session.connection.createXML(document, libvirt.VIR_DOMAIN_START_PAUSED)
        try:
            with switched(f"machine {name}"):
                for network in networks:
                    self.switches.plug(network, name)
            _leave_memory_out(domain, leave=True)
            with state.open("rb") as file:
                _hand_over(domain, file)
                _order(domain, "migrate-incoming", uri=f"fd:{_STATE_FD}")
            _wait_moved(domain, deadline, f"restored state of {name}")
            _leave_memory_out(domain, leave=False)
        except (HypervisorError, TimeoutError):
            with suppress(libvirt.libvirtError):
                domain.destroy()
            raise

    def native_command(self, name: str, memory: Path) -> str:
        """Return how libvirt would start QEMU to go on with a machine, as a line for a shell; for comparisons."""
        document = going_on_document(self.session.document(self.session.find(name), inactive=True), memory)
        with translated(f"command line of {name}"):
            return str(self.session.connection.domainXMLToNative("qemu-argv", document, 0))


def _version(number: int) -> str:
    """Return 1000000 * major + 1000 * minor + release as text."""
    return f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}"


def _order(domain: Any, command: str, **arguments: object) -> Any:
    """Have QEMU do a command and return what it returns. Raises HypervisorError with QEMU's words."""
    with translated(f"{command} of {domain.name()}"):
        answer = libvirt_qemu.qemuMonitorCommand(domain, json.dumps({"execute": command, "arguments": arguments}), 0)
    return _returned(domain, command, answer)


def _hand_over(domain: Any, file: BinaryIO) -> None:
    """Give QEMU an open file, under the name that the next command uses."""
    command = json.dumps({"execute": "getfd", "arguments": {"fdname": _STATE_FD}})
    with translated(f"file for {domain.name()}"):
        answer, _ = libvirt_qemu.qemuMonitorCommandWithFiles(domain, command, [file.fileno()], 0)
    _returned(domain, "getfd", answer)


def _returned(domain: Any, command: str, answer: str) -> Any:
    found = json.loads(answer)
    if "error" in found:
        raise HypervisorError(f"{command} of {domain.name()}: {found['error'].get('desc', found['error'])}")
    return found["return"]


def _leave_memory_out(domain: Any, *, leave: bool) -> None:
    capability = {"capability": "x-ignore-shared", "state": leave}
    _order(domain, "migrate-set-capabilities", capabilities=[capability])


def _wait_moved(domain: Any, deadline: Deadline, what: str) -> None:
    """Wait until QEMU has written or read a state. Raises HypervisorError, DeadlineExceeded."""

    def moved() -> bool:
        found = _order(domain, "query-migrate")
        if found.get("status") in _ENDS_BADLY:
            raise HypervisorError(f"{what}: {found.get('error-desc', found['status'])}")
        return bool(found.get("status") == "completed")

    wait_until(moved, deadline, what, every=_LOOK_EVERY)


def _process(domain: str) -> Path:
    """Return the folder in /proc of the QEMU that runs a domain. Raises HypervisorError."""
    mark = f"guest={domain},".encode()
    for command_line in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            program, *arguments = command_line.read_bytes().split(b"\0")
            if b"qemu" in program and any(argument.startswith(mark) for argument in arguments):
                return command_line.parent
    raise HypervisorError(f"the process of {domain} is not among those of this computer")


def _shared_memory(process: Path, name: str) -> Path:
    """Return a machine's memory as a file. Raises Conflict when it was not made to be saved."""
    for link in (process / "fd").iterdir():
        with suppress(OSError):
            if str(link.readlink()).startswith(_MEMORY_LINK):
                return link
    raise Conflict(f"machine {name}: was not made to be saved (no {MEMORY_ID})")
