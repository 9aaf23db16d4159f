"""An emulated host as a process in the foreground: made from a few choices, ended by a signal, one for each home."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.emulators.esxi.backend import Backend
from lab.emulators.esxi.emulator import Emulator, Settings
from lab.emulators.esxi.memory import MemoryBackend
from lab.emulators.esxi.qemu import QemuBackend
from lab.emulators.esxi.server import EsxiServer
from lab.emulators.esxi.service import Licence
from lab.emulators.esxi.sessions import Account
from lab.networks.bridge import BridgeSwitches
from lab.networks.hub import HubSwitches
from lab.networks.protocol import Switches

USER = "root"
READER = "reader"
"""An account that may look and change nothing, for whoever follows the inventory."""
READER_PASSWORD = "reader-password"  # noqa: S105 - the name of a file
PASSWORD_VARIABLE = "ESXI_PASSWORD"  # noqa: S105 - the name of a variable
ENDPOINT = "endpoint.json"
HOMES = 0o700


class CannotStart(Exception):
    """The choices or the place do not allow an emulated host; the message says why."""


@dataclass(frozen=True)
class Choices:
    """What a person or the lab decides. ``acceleration``: "kvm", "tcg", or "memory" for machines without QEMU."""

    home: Path
    acceleration: str
    port: int = 0
    lab: str = ""
    vcenter: bool = False
    licence: Licence = Licence.FULL
    password_file: Path | None = None


@dataclass(frozen=True)
class Serving:
    """An emulated host that answers."""

    url: str
    certificate: Path
    user: str
    password_source: str


@contextmanager
def serving(choices: Choices) -> Iterator[Serving]:
    """Serve an emulated host inside the block. Raises CannotStart."""
    choices.home.mkdir(mode=HOMES, parents=True, exist_ok=True)
    with ExitStack() as stack:
        _hold(choices.home, stack)
        password, source = _password(choices)
        reader = Account(READER, _made_password(choices.home / READER_PASSWORD), read_only=True)
        settings = Settings(Account(USER, password), reader, choices.vcenter, choices.licence, lab=choices.lab)
        emulator = Emulator(settings, choices.home, _backend(choices))
        stack.callback(emulator.close)
        try:
            server = EsxiServer(emulator, choices.home, choices.port).start()
        except OSError as error:
            raise CannotStart(f"port {choices.port} of 127.0.0.1 cannot be used: {error.strerror}") from error
        stack.callback(server.close)
        found = Serving(server.url, server.certificate, USER, source)
        _publish(choices.home, found, server.port)
        stack.callback((choices.home / ENDPOINT).unlink, missing_ok=True)
        yield found


def serve_until_signal(choices: Choices, ready: Callable[[Serving], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``ready`` is told once when clients may come. Raises CannotStart."""
    ended = threading.Event()
    signals: Sequence[signal.Signals] = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        signal.signal(number, lambda *_: ended.set())
    with serving(choices) as found:
        ready(found)
        ended.wait()


def switches(lab: str, home: Path) -> Switches:
    """Return the lab's switches: bridges for root, hubs for others, as the libvirt driver's."""
    return BridgeSwitches(lab) if os.geteuid() == 0 else HubSwitches(lab, home / "hubs")


def _backend(choices: Choices) -> Backend:
    if choices.acceleration == "memory":
        return MemoryBackend()
    found = switches(choices.lab, choices.home) if choices.lab else None
    return QemuBackend(choices.home, choices.acceleration, found)


def _hold(home: Path, stack: ExitStack) -> None:
    lock = stack.enter_context((home / "lock").open("w", encoding="utf-8"))
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise CannotStart(f"another emulated host uses {home}") from error


def _password(choices: Choices) -> tuple[str, str]:
    """Return the password and where it is: a file, the environment, or a file that is made now, mode 0600."""
    if choices.password_file is not None:
        try:
            text = choices.password_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise CannotStart(f"{choices.password_file}: {error.strerror}") from error
        if not text:
            raise CannotStart(f"{choices.password_file} is empty: a password is expected")
        return text, str(choices.password_file)
    if os.environ.get(PASSWORD_VARIABLE):
        return os.environ[PASSWORD_VARIABLE], f"the environment variable {PASSWORD_VARIABLE}"
    made = choices.home / "password"
    return _made_password(made), str(made)


def _made_password(file: Path) -> str:
    """Return the password in a file of mode 0600, which is made when it is not there."""
    if not file.exists():
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24) + "\n", encoding="utf-8")
    return file.read_text(encoding="utf-8").strip()


def _publish(home: Path, found: Serving, port: int) -> None:
    """Say to other programs where the host is. The password is not in here."""
    document = {"url": found.url, "port": port, "certificate": str(found.certificate), "user": found.user}
    temporary = home / f"{ENDPOINT}.new"
    temporary.write_text(json.dumps(document), encoding="utf-8")
    temporary.replace(home / ENDPOINT)
