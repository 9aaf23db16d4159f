"""An emulated host as a process in the foreground: made from a few choices, ended by a signal, one for each home."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.emulators.common.home import CannotStart, chosen_password, hold, made_password, publish
from lab.emulators.esxi.backend import Backend
from lab.emulators.esxi.emulator import Emulator, Settings
from lab.emulators.esxi.memory import MemoryBackend
from lab.emulators.esxi.qemu import QemuBackend
from lab.emulators.esxi.server import EsxiServer
from lab.emulators.esxi.service import Licence
from lab.emulators.esxi.sessions import Account
from lab.networks.bridge import BridgeSwitches
from lab.networks.hub import HubSwitches
from lab.networks.naming import tag_of
from lab.networks.protocol import Switches

USER = "root"
READER = "reader"
"""An account that may look and change nothing, for whoever follows the inventory."""
READER_PASSWORD = "reader-password"  # noqa: S105 - the name of a file
PASSWORD_VARIABLE = "ESXI_PASSWORD"  # noqa: S105 - the name of a variable


@dataclass(frozen=True)
class Choices:
    """What a person or the lab decides.

    Args:
        acceleration: "kvm", "tcg", or "memory" for machines without QEMU.
        lab: whose switches the port groups are; ``store`` is the folder of its home's labs.
    """

    home: Path
    acceleration: str
    port: int = 0
    lab: str = ""
    vcenter: bool = False
    licence: Licence = Licence.FULL
    password_file: Path | None = None
    store: Path | None = None

    @property
    def tag(self) -> str:
        """What the lab's switches carry."""
        return tag_of(self.lab, self.store or self.home) if self.lab else ""


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
    with ExitStack() as stack:
        hold(choices.home, stack)
        password, source = chosen_password(choices.home, choices.password_file, PASSWORD_VARIABLE)
        reader = Account(READER, made_password(choices.home / READER_PASSWORD), read_only=True)
        settings = Settings(Account(USER, password), reader, choices.vcenter, choices.licence, lab=choices.lab)
        emulator = Emulator(settings, choices.home, _backend(choices))
        stack.callback(emulator.close)
        try:
            server = EsxiServer(emulator, choices.home, choices.port).start()
        except OSError as error:
            raise CannotStart(f"port {choices.port} of 127.0.0.1 cannot be used: {error.strerror}") from error
        stack.callback(server.close)
        found = Serving(server.url, server.certificate, USER, source)
        said = {"url": found.url, "port": server.port, "certificate": str(found.certificate), "user": found.user}
        publish(choices.home, said, stack)
        yield found


def switches(tag: str, home: Path) -> Switches:
    """Return the lab's switches: bridges for root, hubs for others, as the libvirt driver's."""
    return BridgeSwitches(tag) if os.geteuid() == 0 else HubSwitches(tag, home / "hubs")


def _backend(choices: Choices) -> Backend:
    if choices.acceleration == "memory":
        return MemoryBackend()
    found = switches(choices.tag, choices.home) if choices.lab else None
    return QemuBackend(choices.home, choices.acceleration, found)
