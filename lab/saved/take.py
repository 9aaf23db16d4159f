"""Saving a lab: all machines are paused, written at one instant, and run on."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cryptography import x509

from lab.errors import LabError
from lab.hypervisors.protocols import HypervisorError, SavingHypervisor
from lab.machines.waking import wake
from lab.provision.blueprint import blueprint
from lab.provision.board import Board
from lab.provision.home import LabFolder
from lab.provision.lab import Lab
from lab.saved.inputs import FORMAT
from lab.saved.model import DESCRIPTION, Saved
from lab.saved.store import SavedLabs, describe_files
from lab.waiting import Deadline

SAVE_SECONDS = 120.0
"""For one machine."""
READY_SECONDS = 60.0
MACHINES, DISKS, LAB = "machines", "disks", "lab"
KEPT = ("keys", "stack", "seeds")
"""Folders of a lab that go with its machines."""


def saving_host(lab: Lab) -> SavingHypervisor:
    """Return the lab's driver as one that can save. Raises LabError when it cannot."""
    if not isinstance(lab.hypervisor, SavingHypervisor):
        raise LabError(f"the machines of lab {lab.folder.name} cannot be saved: they are not on one libvirt host")
    return lab.hypervisor


def take(lab: Lab, store: SavedLabs, key: str, inputs: Mapping[str, str], board: Board) -> None:
    """Save a lab whose stack is installed and quiet; its machines run on afterwards, with their clocks set.

    Raises:
        LabError: something could not be written. The machines run in any case, and nothing half made stays.
    """
    board.step("saved lab", "saving all machines")
    begin = time.monotonic()
    names = tuple(lab.topology.machines)
    certificates = [pem for name in names for pem in _certificates(lab, name)]
    lab.disconnect()
    with store.taking(key) as folder:
        try:
            _write_machines(lab, names, folder)
        finally:
            in_parallel(lambda name: wake_when_ready(lab, name), names)
        board.step("saved lab", f"machines ran on after {time.monotonic() - begin:.1f} s, reading back")
        _describe(lab, folder, key, inputs, _expiry(certificates))
    board.step("saved lab", f"saved as {key}")
    board.step("saved lab", "ready")


def in_parallel(work: Callable[[str], object], names: Iterable[str]) -> None:
    """Do something for every machine side by side; the first error is raised once all have ended."""
    listed = list(names)
    with ThreadPoolExecutor(max(1, len(listed)), thread_name_prefix="saved") as pool:
        list(pool.map(work, listed))


def wake_when_ready(lab: Lab, name: str) -> float:
    """Log in to a machine that has a twin now, seed its random generator and set its clock.

    Return by how many seconds the clock was moved. Raises LabError.
    """
    machine = lab.machine(name)
    machine.wait_ready(Deadline.after(READY_SECONDS), login_only=True)
    return wake(machine.ssh)


def _write_machines(lab: Lab, names: tuple[str, ...], folder: Path) -> None:
    host = saving_host(lab)
    for part in (MACHINES, DISKS):
        (folder / part).mkdir(mode=0o711)
        (folder / part).chmod(0o711)
    try:
        # One after the other, quickly: what one sent to another meanwhile is lost as on any network, and sent again.
        for name in names:
            host.saving.pause(name)
        in_parallel(lambda name: _write_machine(lab, host, name, folder), names)
        _keep_lab_files(lab.folder, folder / LAB)
    except (HypervisorError, OSError, TimeoutError) as error:
        raise LabError(f"lab {lab.folder.name} could not be saved: {error}") from error
    finally:
        for name in names:
            host.saving.resume(name)


def _write_machine(lab: Lab, host: SavingHypervisor, name: str, folder: Path) -> None:
    state, memory = machine_files(folder, name)
    host.saving.save(name, state, memory, Deadline.after(SAVE_SECONDS))
    for attachment in blueprint(lab.topology, name).spec.disks:
        host.saving.save_disk(attachment.disk, disk_file(folder, attachment.disk.name))


def machine_files(folder: Path, name: str) -> tuple[Path, Path]:
    """Return where the state and the memory of a machine are."""
    return folder / MACHINES / f"{name}.state", folder / MACHINES / f"{name}.memory"


def disk_file(folder: Path, disk: str) -> Path:
    """Return where the content of a disk is, over the image of its lab if it has one."""
    return folder / DISKS / f"{disk}.img"


def _keep_lab_files(source: LabFolder, target: Path) -> None:
    target.mkdir(mode=0o700)
    for name in KEPT:
        shutil.copytree(source.path / name, target / name, ignore=shutil.ignore_patterns("known-*"))


def _describe(lab: Lab, folder: Path, key: str, inputs: Mapping[str, str], expires_ns: int) -> None:
    saved = Saved(
        format=FORMAT,
        key=key,
        inputs=dict(inputs),
        lab=lab.folder.name,
        topology=lab.topology.source.resolve(),
        name=lab.topology.name,
        acceleration=lab.state.acceleration,
        machines=tuple(lab.topology.machines),
        taken_ns=time.time_ns(),
        expires_ns=expires_ns,
        host_keys=lab.state.host_keys,
        files=describe_files(folder),
    )
    (folder / DESCRIPTION).write_text(saved.model_dump_json(indent=1), encoding="utf-8")


_FIND_CERTIFICATES = "find /etc/recovery -name '*.pem' -exec cat {} + 2>/dev/null || true"


def _certificates(lab: Lab, name: str) -> list[x509.Certificate]:
    """Return the certificates that the stack has on a machine."""
    text = lab.machine(name).ssh.shell(_FIND_CERTIFICATES).stdout
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    bodies = [piece.split(end)[0] for piece in text.split(begin)[1:]]
    return [x509.load_pem_x509_certificate(f"{begin}{body}{end}\n".encode()) for body in bodies]


def _expiry(certificates: list[x509.Certificate]) -> int:
    """Return when the first one expires, ns since 1970. Raises LabError without any: that is no installed stack."""
    if not certificates:
        raise LabError("no machine has a certificate of the stack, so nobody knows how long it would be of use")
    return min(int(item.not_valid_after_utc.timestamp()) for item in certificates) * 10**9
