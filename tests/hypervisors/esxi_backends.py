"""The ESXi driver over everything that speaks its protocol, for the contract and for the driver's own tests."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from backends import Backend

from lab.emulators.esxi import folder
from lab.emulators.esxi.backend import Backend as EmulatorBackend
from lab.emulators.esxi.emulator import Emulator, Settings
from lab.emulators.esxi.memory import MemoryBackend
from lab.emulators.esxi.qemu import QemuBackend
from lab.emulators.esxi.server import EsxiServer
from lab.emulators.esxi.sessions import Account
from lab.emulators.esxi.stub import InProcessStub
from lab.hypervisors.esxi import EsxiHypervisor, Placement, Target, Trust, connect
from lab.hypervisors.esxi.driver import compose
from lab.hypervisors.esxi.naming import Names
from lab.hypervisors.esxi.session import Session
from lab.hypervisors.esxi.site import Site, probe
from lab.hypervisors.model import DiskId
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound

ACCOUNT = Account("lab", "a password with spaces & <signs>")
READER = Account("reader", "another password", read_only=True)
MEMORY, TLS, QEMU, VCENTER = "esxi-in-process", "esxi-tls", "esxi-qemu", "vcenter-in-process"
EMULATED = [MEMORY, VCENTER, TLS, pytest.param(QEMU, marks=pytest.mark.qemu)]


@dataclass(frozen=True)
class InProcessTransfer:
    """Files of the emulator's datastore by the code behind ``/folder``, without a socket."""

    emulator: Emulator

    def read(self, path: str, start: int, length: int) -> bytes:
        with _refusals(path):
            part = folder.part_of(self.emulator, self._url(path), f"bytes={start}-{start + length - 1}")
        with part.file.open("rb") as file:
            file.seek(part.start)
            return file.read(part.length)

    def read_whole(self, path: str) -> bytes:
        with _refusals(path):
            return folder.part_of(self.emulator, self._url(path), None).file.read_bytes()

    def write(self, path: str, length: int, blocks: Iterable[bytes]) -> None:
        rest = iter(blocks)
        with _refusals(path):
            folder.store(self.emulator, self._url(path), length, lambda _size: next(rest, b""))

    def _url(self, path: str) -> str:
        return f"/folder/{path}?dsName={self.emulator.settings.datastore}"


@contextmanager
def _refusals(path: str) -> Iterator[None]:
    kinds: dict[int, type[HypervisorError]] = {404: NotFound, 409: Conflict}
    try:
        yield
    except folder.Refused as refused:
        raise kinds.get(refused.status, HypervisorError)(f"file {path}: {refused}") from refused


@dataclass
class Emulated:
    """An emulated host and the way to open drivers on it."""

    emulator: Emulator
    server: EsxiServer | None
    home: Path

    def driver(self, lab: str, **changes: object) -> EsxiHypervisor:
        store = self.home / "store"
        if self.server is None:
            user, password = changes.get("user", ACCOUNT.user), changes.get("password", ACCOUNT.password)
            session = Session(InProcessStub(self.emulator), str(user), str(password))
            session.open()
            host = probe(session, Placement())
            names = Names(lab, host.datastore_name)
            return compose(Site(session, host, names, Placement(), InProcessTransfer(self.emulator)), store)
        return connect(replace(self.target(), **changes), lab, store)  # type: ignore[arg-type]

    def target(self) -> Target:
        assert self.server is not None
        trust = Trust(self.server.certificate)
        return Target("127.0.0.1", self.server.port, ACCOUNT.user, ACCOUNT.password, trust)

    def file_of(self, lab: str, disk: DiskId) -> Path:
        names = Names(lab, self.emulator.settings.datastore)
        return self.emulator.site.folder.root / names.flat_file(disk)


def emulated(kind: str, home: Path, stack: ExitStack, **settings: object) -> Emulated:
    """Start an emulated host that is gone, and was asked for nothing that it lacks, when the stack is closed."""
    backend: EmulatorBackend = QemuBackend(home, "tcg", switches(stack)) if kind == QEMU else MemoryBackend()
    vcenter = kind == VCENTER
    emulator = Emulator(Settings(ACCOUNT, READER, vcenter=vcenter, **settings), home, backend)  # type: ignore[arg-type]
    stack.callback(_nothing_unknown, emulator)
    stack.callback(emulator.close)
    server = None
    if kind in {TLS, QEMU}:
        server = EsxiServer(emulator, home).start()
        stack.callback(server.close)
    return Emulated(emulator, server, home)


def switches(stack: ExitStack) -> object:
    """Return switches that are removed at the end: bridges for root, hubs for others."""
    from lab.networks.bridge import BridgeSwitches
    from lab.networks.hub import HubSwitches

    lab = f"esxi-{os.getpid()}"
    found = BridgeSwitches(lab) if os.geteuid() == 0 else HubSwitches(lab, Path(f"/tmp/{lab}"))
    stack.callback(found.remove_all)
    return found


def emulated_backend(kind: str, home: Path, stack: ExitStack) -> Backend:
    """Return the contract's view of an emulated host."""
    host = emulated(kind, home, stack)
    mine, other = host.driver("contract-a"), host.driver("contract-b")
    for driver in (mine, other):
        stack.callback(driver.close)
    file_of: Callable[[DiskId], Path] = lambda disk: host.file_of("contract-a", disk)  # noqa: E731
    return Backend(mine, other, file_of, needs_a_guest=kind == QEMU, remove_all=mine.remove_all)


NO_SIZE = "vcsim writes empty descriptors, so the size of a disk is not known"
NO_ADDRESS = "the address of a management card is known only once a guest with tools runs"
VCSIM_GAPS = {
    "test_machines_and_disks_are_listed_by_name": NO_SIZE,
    "test_undefining_keeps_the_disks": NO_SIZE,
    "test_a_disk_has_its_size_and_a_name_of_its_own": NO_SIZE,
    "test_an_imported_disk_is_never_smaller_than_its_image": NO_SIZE,
    "test_a_clone_is_a_copy_of_its_own": NO_SIZE,
    "test_a_clone_needs_a_source_and_a_free_name": NO_SIZE,
    "test_disks_go_into_a_machine_and_out_again": NO_SIZE,
    "test_a_disk_goes_into_a_running_machine_and_stays_after_power_off": NO_SIZE,
    "test_an_attached_disk_is_neither_attached_again_nor_deleted": NO_SIZE,
    "test_a_deleted_disk_is_gone": NO_SIZE,
    "test_a_disk_grows_where_it_is": NO_SIZE,
    "test_a_disk_over_an_image_grows_too": NO_SIZE,
    "test_another_lab_sees_and_touches_nothing": NO_SIZE,
    "test_ssh_is_reached_by_the_management_card_only": "vcsim has no such port group and publishes no address",
}
ENDPOINT_GAPS = {
    "test_ssh_is_reached_by_the_management_card_only": NO_ADDRESS,
    "test_shutting_down_waits_no_longer_than_the_deadline": "a host refuses to shut down a guest without tools at once",
}


def endpoint_target(url: str) -> Target:
    """Return the real host of ``--endpoint``; its account and certificate are in the environment."""
    split = urlsplit(url)
    assert split.scheme == "https", f"--endpoint: https://HOST[:PORT] is expected, not {url}"
    assert split.hostname, f"--endpoint: https://HOST[:PORT] is expected, not {url}"
    trust = Trust(Path(os.environ["ESX_CERTIFICATE"]), pinned=True)
    return Target(split.hostname, split.port or 443, os.environ["ESX_USER"], os.environ["ESX_PASSWORD"], trust)


def foreign_backend(target: Target, store: Path, stack: ExitStack, *, needs_a_guest: bool) -> Backend:
    """Return the contract's view of a host that is not ours; what the tests make is removed again."""
    drivers = []
    for letter in "ab":
        driver = connect(target, f"contract-{os.getpid()}-{letter}", store)
        stack.callback(driver.close)
        stack.callback(driver.remove_all)
        drivers.append(driver)
    return Backend(*drivers, None, needs_a_guest=needs_a_guest, remove_all=drivers[0].remove_all)


def _nothing_unknown(emulator: Emulator) -> None:
    assert emulator.unknown == [], f"the driver called what the emulator does not implement: {emulator.unknown}"
