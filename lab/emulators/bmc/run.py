"""An emulated BMC as a process in the foreground, in front of machines that a lab has in libvirt already."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from lab.emulators.bmc.accounts import Accounts
from lab.emulators.bmc.application import BmcApplication, Cabling
from lab.emulators.bmc.ipmi import CONSOLE, Behind, serve_ipmi
from lab.emulators.bmc.server import BmcServer
from lab.emulators.bmc.sushy import sushy_application
from lab.emulators.common.home import CannotStart, chosen_password, hold, publish
from lab.networks.naming import tag_of

USER = "admin"
PASSWORD_VARIABLE = "BMC_PASSWORD"  # noqa: S105 - the name of a variable


@dataclass(frozen=True)
class Choices:
    """What a person or the lab decides.

    Args:
        lab: the tag of the machines behind the BMC.
        machine: the one behind it; without it all of the lab are, as no real BMC has.
        uri: the libvirt that has them.
        store: the folder of labs that ``lab`` is one of; without it the home.
        network: a lab on whose switches the machines' cards are, when it is another one than ``lab``, and
            ``network_store``, the folder of labs that it is one of.
        ipmi: power and boot source by IPMI too.
    """

    home: Path
    lab: str
    machine: str = ""
    port: int = 0
    uri: str = ""
    password_file: Path | None = None
    store: Path | None = None
    network: str = ""
    network_store: Path | None = None
    ipmi: bool = False

    @property
    def labs(self) -> Path:
        """The folder of labs."""
        return self.store or self.home

    @property
    def where(self) -> str:
        """The libvirt: the system's for root, else the user's own."""
        return self.uri or f"qemu:///{'system' if os.geteuid() == 0 else 'session'}"


@dataclass(frozen=True)
class Serving:
    """An emulated BMC that answers; ``systems`` are the ids of machines, by their names. ``ipmi_port`` is UDP's."""

    url: str
    certificate: Path
    user: str
    password_source: str
    systems: dict[str, str]
    application: BmcApplication
    ipmi_port: int | None = None


@contextmanager
def serving(choices: Choices) -> Iterator[Serving]:
    """Serve an emulated BMC inside the block. Raises CannotStart."""
    with ExitStack() as stack:
        hold(choices.home, stack)
        password, source = chosen_password(choices.home, choices.password_file, PASSWORD_VARIABLE)
        systems, pool = _machines(choices)
        known = frozenset(systems.values())
        inner = sushy_application(choices.where, pool, known, choices.home / "state")
        application = BmcApplication(inner, Accounts(USER, password), known, cabling=_cabling(choices, systems, stack))
        try:
            server = BmcServer(application, choices.home, choices.port).start()
        except OSError as error:
            raise CannotStart(f"port {choices.port} of 127.0.0.1 cannot be used: {error.strerror}") from error
        stack.callback(server.close)
        ipmi_port = _ipmi(choices, password, systems, application) if choices.ipmi else None
        said = {"url": server.url, "port": server.port, "certificate": str(server.certificate), "user": USER}
        publish(choices.home, {**said, "systems": systems, "ipmi_port": ipmi_port, "console": CONSOLE}, stack)
        yield Serving(server.url, server.certificate, USER, source, systems, application, ipmi_port)


def _ipmi(choices: Choices, password: str, systems: dict[str, str], application: BmcApplication) -> int:
    """Answer IPMI for the one machine and return the port. Raises CannotStart."""
    from lab.hypervisors.libvirt.xml import domain_name

    if len(systems) > 1:
        raise CannotStart(f"IPMI knows one machine: name it, one of {', '.join(systems)}")
    ((name, system),) = systems.items()
    behind = Behind(domain_name(tag_of(choices.lab, choices.labs), name), choices.where)
    return serve_ipmi((USER, password), behind, partial(application.boot, system))


def _machines(choices: Choices) -> tuple[dict[str, str], str]:
    """Return the ids of the lab's machines, by name, and the name of its pool. Raises CannotStart."""
    import libvirt

    from lab.hypervisors.libvirt.session import Session, owner_of, silence_library
    from lab.hypervisors.libvirt.storage import Storage

    silence_library()
    try:
        connection = libvirt.open(choices.where)
    except libvirt.libvirtError as error:
        raise CannotStart(f"libvirt does not answer at {choices.where}: {error.get_error_message()}") from error
    try:
        session = Session(connection, tag_of(choices.lab, choices.labs))
        found = {owner_of(domain)[1]: str(domain.UUIDString()) for domain in session.domains()}
        pool = Storage(session, choices.home).pool_name
    finally:
        connection.close()
    if not found:
        raise CannotStart(f"lab '{choices.lab}' has no machine at {choices.where}")
    if not choices.machine:
        return found, pool
    if choices.machine not in found:
        raise CannotStart(f"lab '{choices.lab}' has no machine '{choices.machine}', only {', '.join(found)}")
    return {choices.machine: found[choices.machine]}, pool


def _cabling(choices: Choices, systems: dict[str, str], stack: ExitStack) -> Cabling:
    """Return the cables of the machines, which nobody else plugs in after a start."""
    from lab.emulators.bmc.cabling import SwitchCables
    from lab.hypervisors.libvirt import connect, switches_of
    from lab.hypervisors.protocols import HypervisorError

    network_store = choices.network_store or choices.labs
    switches = switches_of(choices.where, choices.network or choices.lab, network_store)
    try:
        machines = connect(choices.where, choices.lab, choices.labs, "tcg", switches)
    except HypervisorError as error:
        raise CannotStart(str(error)) from error
    stack.callback(machines.close)
    return SwitchCables(machines, {system: name for name, system in systems.items()})
