"""Installing a bare machine through its BMC: a boot medium or the network once, then its disk.

Whatever fails leaves it off and its drive empty.

The installer switches the machine off when it is done: off is seen over every BMC, a restart over none.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lab.errors import LabError
from lab.hypervisors.model import PowerState
from lab.machines.console import console_tail, without_control
from lab.machines.power import Bmc, BmcError, BootSource, booting_from
from lab.machines.ssh import Result, WrongHostKey
from lab.waiting import Deadline, DeadlineExceeded, wait_until

POWER_SECONDS = 120.0
LOOK_SECONDS = 1.0
FIRST_LOGIN_SECONDS = 20.0


class NotInstalled(LabError):
    """The machine was not installed; it is off, its drive is empty. The message ends with its console."""


class OldSystem(LabError):
    """The machine runs, but not what was installed on it: it boots another disk, or another machine answers."""


@dataclass(frozen=True)
class Console:
    """The record of a serial console, or None for a machine whose console nobody records. ``start``: bytes to skip."""

    record: Path | None
    start: int = 0

    def from_now(self) -> Console:
        """Return the same console without what is on it already."""
        return Console(self.record, self.record.stat().st_size if self.record and self.record.exists() else 0)

    def text(self) -> str:
        """Return what the machine has printed."""
        if self.record is None or not self.record.exists():
            return ""
        with self.record.open("rb") as file:
            file.seek(self.start)
            return without_control(file.read().decode(errors="replace"))

    def quote(self) -> str:
        """Return its end as it stands in errors."""
        if self.record is None:
            return "its console is not recorded"
        return f"--- console ---\n{console_tail(self.record)}"


@dataclass(frozen=True)
class Signs:
    """What an installer prints: ``started`` first, ``done`` before it switches off, ``refused`` with a reason else.

    ``nothing``: what the firmware prints that has found nothing to boot; "" where it prints nothing there.
    """

    started: str
    done: str
    refused: str
    nothing: str = ""


class Shell(Protocol):
    """What is needed of a login: ``SshTransport`` has it."""

    def run(self, *argv: str, stdin: str | None = None, seconds: float = ...) -> Result:
        """Run a program."""

    def close(self) -> None:
        """Drop the connection."""


@dataclass(frozen=True)
class Patience:
    """How long an installer may take, in seconds from power-on: until it starts, and until the machine is off."""

    start: float
    end: float


def install(bmc: Bmc, medium: str | None, console: Console, signs: Signs, patience: Patience) -> None:
    """Boot a medium once and wait until the installer has switched the machine off; the drive is empty then.

    ``medium``: its URL, or None to boot over the network.

    Raises:
        NotInstalled: no installer started, it refused, or the machine stays on or went off without having finished.
        MediaRefused: the medium cannot be inserted or ejected.
        BmcError, DeadlineExceeded: the BMC failed.
    """
    bmc.power_off(Deadline.after(POWER_SECONDS))
    bmc.eject()
    try:
        if medium is not None:
            bmc.insert(medium)
        seen = console.from_now()
        # Inside of the block the choice stays: a real machine needs minutes until it reads it.
        with booting_from(bmc, BootSource.NETWORK if medium is None else BootSource.CD):
            bmc.power_on(Deadline.after(POWER_SECONDS))
            _wait_for_installer(bmc, seen, signs, patience)
        bmc.eject()
    except BaseException as error:
        _leave_as_found(bmc, error)
        raise


def _wait_for_installer(bmc: Bmc, console: Console, signs: Signs, patience: Patience) -> None:
    start = Deadline.after(patience.start)

    def ended() -> str | None:
        _look_at(console, signs, late=start.expired)
        return "off" if bmc.state() is PowerState.OFF else None

    try:
        wait_until(ended, Deadline.after(patience.end), "installed machine that is off", every=LOOK_SECONDS)
    except DeadlineExceeded as error:
        raise NotInstalled(f"{error}\n{console.quote()}") from error
    if console.record is not None and signs.done not in console.text():
        raise NotInstalled(f"the machine went off before its installer was done\n{console.quote()}")


def _look_at(console: Console, signs: Signs, *, late: bool) -> None:
    """Raise NotInstalled when the console shows that there will be no end; ``late``: the installer should be there."""
    text = console.text()
    reason = next((line for line in text.splitlines() if signs.refused in line), None)
    if reason is not None:
        raise NotInstalled(f"the installer {reason[reason.index(signs.refused) :].split(':', 1)[1].strip()}")
    if console.record is None or signs.started in text:
        return
    if signs.nothing and signs.nothing in text:
        raise NotInstalled(f"the machine found nothing to boot\n{console.quote()}")
    if late:
        message = "the machine started no installer: it boots something else, an old disk perhaps, or nothing"
        raise NotInstalled(f"{message}\n{console.quote()}")


def _leave_as_found(bmc: Bmc, error: BaseException) -> None:
    """Switch off, boot as usual, empty the drive; what cannot be done is added to the error."""
    steps: tuple[Callable[[], None], ...] = (
        lambda: bmc.power_off(Deadline.after(POWER_SECONDS)),
        bmc.boot_normally,
        bmc.eject,
    )
    for step in steps:
        try:
            step()
        except (BmcError, DeadlineExceeded) as other:
            error.add_note(f"and afterwards: {other}")


def wait_for_system(shell: Shell, token_file: str, token: str, console: Console, deadline: Deadline) -> None:
    """Wait until the system that was installed with ``token`` lets us log in.

    Raises:
        OldSystem: another system answers.
        NotInstalled: nothing answers; the message ends with the console.
    """
    problem = ["no attempt"]

    def answer() -> Result | None:
        try:
            return shell.run("cat", token_file, seconds=FIRST_LOGIN_SECONDS)
        except WrongHostKey as error:
            raise OldSystem(f"another system than the one that was installed answers: {error}") from error
        except (LabError, TimeoutError, OSError) as error:
            shell.close()
            problem[0] = str(error)
            return None

    try:
        found = wait_until(answer, deadline, "login to the installed system", explain=lambda: problem[0])
    except DeadlineExceeded as error:
        raise NotInstalled(f"the machine was installed and never answers: {error}\n{console.quote()}") from error
    if found.stdout.strip() != token:
        said = f"shows '{found.stdout.strip()[:40]}'" if found.ok else "has no mark of an installation"
        raise OldSystem(f"the machine boots an old system: it {said}, not this installation's\n{console.quote()}")


def leave(bmc: Bmc) -> None:
    """Switch a machine off and empty its drive, for the end of a lab. Raises BmcError, DeadlineExceeded."""
    bmc.power_off(Deadline.after(POWER_SECONDS))
    with suppress(BmcError):
        bmc.boot_normally()
    bmc.eject()
