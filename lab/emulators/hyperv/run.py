"""An emulated Hyper-V host as a process in the foreground: made from a few choices, ended by a signal."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from lab.emulators.common.home import CannotStart, chosen_password, hold, publish
from lab.emulators.hyperv.backend import Backend
from lab.emulators.hyperv.emulator import Emulator, Settings
from lab.emulators.hyperv.memory import MemoryBackend
from lab.emulators.hyperv.wsman.server import WsmanServer
from lab.hypervisors.protocols import HypervisorError

USER = "administrator"
PASSWORD_VARIABLE = "HYPERV_PASSWORD"  # noqa: S105 - the name of a variable
NAME = "HV01"
MAY_ENTER = 0o711
"""QEMU's user has to pass through the home to what machines use; it cannot list it."""
FORBIDDEN = frozenset(":\n\r")
"""Letters that a list of accounts for NTLM cannot hold."""


@dataclass(frozen=True)
class Choices:
    """What a person or the lab decides.

    Args:
        acceleration: "kvm", "tcg", or "memory" for machines that are only remembered.
        lab: the tag of every domain and disk; without one it is made from the home.
        uri: the libvirt that has the machines.
        shared: the lab has machines of its own in that libvirt: those of this host carry another tag, LAB-hv.
        store: a folder that the host's QEMU can reach, for their disks; without one it is the home.
    """

    home: Path
    acceleration: str
    port: int = 0
    lab: str = ""
    uri: str = ""
    store: Path | None = None
    password_file: Path | None = None
    vmm: bool = False
    shared: bool = False

    @property
    def tag(self) -> str:
        """The lab."""
        return self.lab or f"hyperv-{hashlib.sha256(str(self.home.resolve()).encode()).hexdigest()[:8]}"

    @property
    def where(self) -> str:
        """The libvirt: the system's for root, else the user's own."""
        return self.uri or f"qemu:///{'system' if os.geteuid() == 0 else 'session'}"


@dataclass(frozen=True)
class Serving:
    """An emulated host that answers."""

    url: str
    certificate: Path
    user: str
    password_source: str
    exchange: Path


@contextmanager
def serving(choices: Choices) -> Iterator[Serving]:
    """Serve an emulated host inside the block. Raises CannotStart."""
    with ExitStack() as stack:
        hold(choices.home, stack)
        choices.home.chmod(MAY_ENTER)
        password, source = chosen_password(choices.home, choices.password_file, PASSWORD_VARIABLE)
        if FORBIDDEN & set(password):
            raise CannotStart("a password with ':' or a line break cannot be used: NTLM's list of accounts has none")
        settings = Settings(NAME, {USER: password}, vmm=choices.vmm)
        emulator = Emulator(settings, choices.home, _backend(choices))
        stack.callback(emulator.close)
        try:
            server = WsmanServer(emulator.service, emulator.accounts, choices.home, choices.port).start()
        except OSError as error:
            raise CannotStart(f"port {choices.port} of 127.0.0.1 cannot be used: {error.strerror}") from error
        stack.callback(server.close)
        found = Serving(server.url, server.certificate, USER, source, emulator.host.files.exchange)
        said = {"url": found.url, "port": server.port, "certificate": str(found.certificate), "user": found.user}
        publish(choices.home, {**said, "exchange": str(found.exchange)}, stack)
        yield found


def _backend(choices: Choices) -> Backend:
    if choices.acceleration == "memory":
        return MemoryBackend(choices.tag)
    from lab.emulators.hyperv.real import LibvirtBackend
    from lab.hypervisors.libvirt import connect

    store = choices.store or choices.home
    try:
        lab = connect(choices.where, choices.tag, store, choices.acceleration)
        if not choices.shared:
            return LibvirtBackend(lab, choices.tag)
        own = connect(choices.where, shared_tag(choices.tag), store, choices.acceleration)
        lab.close()
    except HypervisorError as error:
        raise CannotStart(str(error)) from error
    return LibvirtBackend(replace(own, switches=lab.switches), choices.tag, lent=True)


def shared_tag(lab: str) -> str:
    """Return the tag of the machines of an emulated host whose lab has machines of its own in the same libvirt."""
    return f"{lab}-hv"
