"""Installing a lab's physical machines: lease, boot medium or network, disk, login."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from lab.errors import LabError
from lab.images.cache import Image
from lab.images.identity import SshKey
from lab.images.medium import DONE, REFUSED, STARTED, TOKEN_FILE, Installation, TargetDisk, write_medium
from lab.images.stream import ImageStream
from lab.machines.bmc_lease import BmcLease
from lab.machines.installation import POWER_SECONDS, Console, NotInstalled, Patience, Signs, install, wait_for_system
from lab.machines.power import Bmc
from lab.provision.blueprint import Blueprint
from lab.provision.bmc import LEASE_SECONDS, opened
from lab.provision.board import Board
from lab.provision.identity import machine_identity
from lab.provision.lab import BOOT_SECONDS, Lab
from lab.provision.media import MediaFolder
from lab.waiting import Deadline, DeadlineExceeded

PATIENCE = {"tcg": Patience(start=600.0, end=1200.0), "kvm": Patience(start=240.0, end=480.0)}
NOTHING_BOOTED = "No bootable device"
"""What SeaBIOS says."""
SIGNS = Signs(STARTED, DONE, REFUSED, NOTHING_BOOTED)


@dataclass(frozen=True)
class Source:
    """The image that a machine gets, and the same as a stream."""

    image: Image
    stream: ImageStream


class Way(Protocol):
    """How a machine gets to its installer."""

    @property
    def name(self) -> str:
        """Return it in words, as in "installing from virtual media"."""

    def prepared(self, installation: Installation, source: Source) -> AbstractContextManager[str | None]:
        """Have the installer ready inside of the block; give the URL of its medium, None to boot over the network."""

    def last_words(self) -> str:
        """Return what those said who serve the installer, for an error; "" when they say nothing."""


@dataclass(frozen=True)
class OverMedia:
    """From virtual media; ``url``: where a BMC finds what is in ``folder``."""

    machine: str
    folder: MediaFolder
    url: str
    name: str = "from virtual media"

    @contextmanager
    def prepared(self, installation: Installation, source: Source) -> Iterator[str]:
        """Write the medium and give its URL; it holds a private key, so it goes with the block."""
        # Nobody can guess the URL, which is all that keeps others from the medium.
        secret = secrets.token_urlsafe(24)
        folder = self.folder.files / secret
        folder.mkdir(mode=0o700)
        try:
            write_medium(installation, source.image, source.stream, folder / f"{self.machine}.iso")
            yield f"{self.url}/{secret}/{self.machine}.iso"
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def last_words(self) -> str:
        """Return nothing: the BMC fetches the medium, and says itself what went wrong."""
        return ""


def install_machine(lab: Lab, plan: Blueprint, key: SshKey, source: Source, *, way: Way, board: Board) -> None:
    """Install a physical machine through its BMC and wait until its new system lets us log in.

    Raises:
        LabError: refused, failed, or another system answers. The message names the machine; it is off, its drive is
            empty and its lease has ended, unless the message says otherwise.
    """
    access = lab.state.physical[plan.name]
    token = secrets.token_hex(16)
    console = Console(access.console)
    try:
        with opened(access) as bmc, _leased(bmc, access.lease, lab.folder.name):
            board.step(plan.name, f"installing {way.name}")
            disks = tuple(TargetDisk(item.serial, plan.disk_sizes[item.disk]) for item in plan.spec.disks)
            installation = Installation(machine_identity(lab, plan, key), disks, token)
            with way.prepared(installation, source) as medium, _quoting(way):
                install(bmc, medium, console, SIGNS, PATIENCE[lab.state.acceleration])
            board.step(plan.name, "booting from its disk")
            with _off_after_failure(bmc):
                bmc.power_on(Deadline.after(POWER_SECONDS))
                deadline = Deadline.after(BOOT_SECONDS[lab.state.acceleration])
                wait_for_system(lab.machine(plan.name).ssh, TOKEN_FILE, token, console, deadline)
    except (LabError, DeadlineExceeded) as error:
        board.step(plan.name, "failed")
        raise _named(plan.name, error) from error
    board.step(plan.name, "ready")


@contextmanager
def _leased(bmc: Bmc, token: str, owner: str) -> Iterator[None]:
    """Take the machine's lease and keep it after the block, but give it back when the block fails."""
    lease = BmcLease(bmc, token)
    lease.acquire(owner, LEASE_SECONDS)
    try:
        yield
    except BaseException as error:
        try:
            if left := getattr(error, "__notes__", ()):
                lease.mark_broken("; ".join(left))
            lease.release()
        except LabError as other:
            error.add_note(f"and afterwards: {other}")
        raise


@contextmanager
def _off_after_failure(bmc: Bmc) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        try:
            bmc.power_off(Deadline.after(POWER_SECONDS))
        except (LabError, DeadlineExceeded) as other:
            error.add_note(f"and afterwards: {other}")
        raise


@contextmanager
def _quoting(way: Way) -> Iterator[None]:
    """Add what the servers of an installer said to the error of one that did not come to its end."""
    try:
        yield
    except NotInstalled as error:
        if not (words := way.last_words()):
            raise
        told = NotInstalled(f"{error}\n{words}")
        for note in getattr(error, "__notes__", ()):
            told.add_note(note)
        raise told from error


def _named(name: str, error: LabError | DeadlineExceeded) -> LabError:
    """Return the error as one of a machine, with what could not be put right after it."""
    text = f"machine {name}: " + "\n".join([str(error), *getattr(error, "__notes__", ())])
    return type(error)(text, hint=error.hint) if isinstance(error, LabError) else LabError(text)
