"""The lab's machines as bare QEMU processes, as a person would start them by hand: the limit for ``lab up``."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.hypervisors.translated import PROCESSOR, TRANSLATION_CACHE_MIB, processors
from lab.machines.console import console_tail
from lab.machines.ssh import SshTransport
from lab.waiting import Deadline, DeadlineExceeded, wait_until

END_SECONDS = 10.0
# The kernel ends the machines if we are ended without a chance to do it.
_TIED_TO_US = ("setpriv", "--pdeathsig", "KILL")
_ACCELERATION = {
    "tcg": ("-accel", f"tcg,tb-size={TRANSLATION_CACHE_MIB}", "-cpu", PROCESSOR),
    "kvm": ("-accel", "kvm", "-cpu", "host"),
}


@dataclass(frozen=True)
class BareDisk:
    """A disk: its file, format ("raw" or "qcow2") and serial number."""

    path: Path
    format: str
    serial: str
    read_only: bool = False


@dataclass(frozen=True)
class BareMachine:
    """A machine by hand. The first disk is booted."""

    name: str
    cpus: int
    memory_mib: int
    disks: tuple[BareDisk, ...]
    mac: str
    ssh: SshTransport
    console: Path

    @property
    def log(self) -> Path:
        """What QEMU itself says."""
        return self.console.with_suffix(".qemu")


def qemu_command(machine: BareMachine, mode: str) -> list[str]:
    """Return the command line of a machine; ``mode`` is "tcg" or "kvm"."""
    command = ["qemu-system-x86_64", "-name", machine.name, "-M", "pc", *_ACCELERATION[mode]]
    command += ["-smp", processors(machine.cpus, translated=mode == "tcg"), "-m", str(machine.memory_mib)]
    command += ["-nodefaults", "-display", "none", "-serial", f"file:{machine.console}"]
    for position, disk in enumerate(machine.disks):
        command += ["-blockdev", json.dumps(_block(disk, f"disk{position}"))]
        boot = ",bootindex=1" if position == 0 else ""
        command += ["-device", f"virtio-blk-pci,drive=disk{position},serial={disk.serial}{boot}"]
    forward = f"hostfwd=tcp:{machine.ssh.endpoint.host}:{machine.ssh.endpoint.port}-:22"
    command += ["-netdev", f"user,id=management,restrict=on,{forward}"]
    command += ["-device", f"virtio-net-pci,netdev=management,mac={machine.mac},romfile="]
    command += ["-object", "rng-random,id=entropy,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=entropy"]
    return command


@contextmanager
def started(machines: Sequence[BareMachine], mode: str) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Start the machines side by side; end them by their ids when the block ends, however it ends."""
    with ExitStack() as stack:
        processes: dict[str, subprocess.Popen[bytes]] = {}
        stack.callback(lambda: end_all(list(processes.values())))
        for machine in machines:
            stack.callback(machine.ssh.close)
            command = [*_TIED_TO_US, *qemu_command(machine, mode)]
            with machine.log.open("wb") as log:
                processes[machine.name] = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )
        yield processes


def wait_login(machine: BareMachine, process: subprocess.Popen[bytes], deadline: Deadline) -> None:
    """Wait until a login works. Raises LabError with the console, at once when the process has ended."""

    def refuse_ended() -> None:
        if process.poll() is not None:
            words = machine.log.read_text(encoding="utf-8", errors="replace").strip()
            raise LabError(f"bare {machine.name}: QEMU ended with {process.returncode}: {words}")

    wait_answer(machine, refuse_ended, deadline)


def wait_answer(machine: BareMachine, refuse_ended: Callable[[], None], deadline: Deadline) -> None:
    """Wait until a login works. Raises LabError with the console, and what ``refuse_ended`` raises before each try."""

    def answers() -> bool:
        refuse_ended()
        try:
            machine.ssh.wait_ready(Deadline.after(0))
        except DeadlineExceeded:
            return False
        return True

    try:
        wait_until(answers, deadline, f"SSH login to {machine.name}")
    except DeadlineExceeded as error:
        raise LabError(f"{error}\n--- console of {machine.name} ---\n{console_tail(machine.console)}") from error


def _block(disk: BareDisk, node: str) -> dict[str, object]:
    file = {"driver": "file", "filename": str(disk.path), "cache": {"no-flush": True}}
    return {
        "driver": disk.format,
        "node-name": node,
        "read-only": disk.read_only,
        "discard": "ignore" if disk.read_only else "unmap",
        "file": file,
    }


def end_all(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes that we started: politely, then not."""
    for process in processes:
        process.terminate()
    deadline = Deadline.after(END_SECONDS)
    for process in processes:
        try:
            process.wait(deadline.remaining)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(END_SECONDS)
