"""Machines of this host: what they are, their power, and those that are made of replica disks.

Only machines that this provider has made (they carry its tag) are ever removed.
"""

from __future__ import annotations

import threading
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import libvirt

from lab.replication.common.control import CommandFailed
from lab.replication.common.durable import JSON
from lab.replication.provider.domains import TAG, Guest, guest_xml
from lab.replication.support.facts import BIOS, UEFI, UNKNOWN
from lab.waiting import Deadline, DeadlineExceeded, wait_until

SHUTDOWN_S = 180.0
ON, OFF, PAUSED = "on", "off", "paused"
ACTIONS = (ON, OFF, "shutdown", "resume")


class LibvirtHost:
    """One connection to the hypervisor of this host, made again when it is lost."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._lock = threading.Lock()
        self._connection: Any = None
        # Errors arrive as exceptions; libvirt would print them too.
        libvirt.registerErrorHandler(lambda *_: None, None)

    def connect(self) -> Any:
        """Return the connection. Raises ConnectionError."""
        with self._lock:
            try:
                if self._connection is None or not self._connection.isAlive():
                    self._connection = libvirt.open(self._uri)
            except libvirt.libvirtError as error:
                raise ConnectionError(f"libvirt at {self._uri}: {error.get_error_message()}") from error
            return self._connection

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class Guests:
    """Machines of a host. ``domain_type`` is "kvm" or "qemu"; consoles of machines made here are in ``consoles``.

    A machine that does not react to its button for ``shutdown_s`` seconds loses its power.
    """

    def __init__(self, host: LibvirtHost, domain_type: str, consoles: Path, shutdown_s: float = SHUTDOWN_S) -> None:
        self._shutdown_s = shutdown_s
        self._host = host
        self._domain_type = domain_type
        self._consoles = consoles

    def describe(self, name: str) -> JSON:
        """Return what a machine is, or ``{state: "missing"}``.

        ``{state, cpus, memory_mib, architecture, firmware, disks: [{serial, path, size}]}``, sizes in bytes.
        """
        domain = self._find(name)
        if domain is None:
            return {"state": "missing"}
        info = domain.info()
        document = _document(domain)
        disks = []
        for disk in document.iterfind("devices/disk"):
            source = disk.find("source")
            path = source.get("file") if source is not None else None
            if path is not None and disk.findtext("serial"):
                disks.append({"serial": disk.findtext("serial"), "path": path, "size": domain.blockInfo(path)[0]})
        shape = {"state": self._state(domain), "cpus": info[3], "memory_mib": info[1] // 1024}
        return {**shape, **hardware_of(document), "disks": disks}

    def power(self, name: str, action: str) -> JSON:
        """Switch a machine ``on`` or ``off``, ``resume`` it, or ``shutdown``: by its button, at last by the power.

        Raises:
            CommandFailed: there is no such machine or action, or it does not end.
        """
        if action not in ACTIONS:
            raise CommandFailed("bad-action", f"one of {', '.join(ACTIONS)} is expected, not {action!r}")
        domain = self._find(name)
        if domain is None:
            raise CommandFailed("machine-missing", f"this host has no machine {name}")
        if action == ON and not domain.isActive():
            domain.create()
        elif action == "resume" and self._state(domain) == PAUSED:
            domain.resume()
        elif action == "shutdown" and domain.isActive():
            self._shut_down(domain)
        elif action == OFF:
            _cut_power(domain)
        return {"state": self._state(domain)}

    def start(self, guest: Guest, *, paused: bool = False) -> None:
        """Make a machine and switch it on; ``paused``: its first instruction waits for ``resume``."""
        self.remove(guest.name)
        self._consoles.mkdir(parents=True, exist_ok=True)
        document = guest_xml(guest, self._domain_type, self._consoles / f"{guest.name}.log")
        domain = self._host.connect().defineXML(document)
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)

    def remove(self, name: str) -> None:
        """Cut the power of a machine that was made here, and forget it. Raises CommandFailed: it is another one's."""
        domain = self._find(name)
        if domain is None:
            return
        if not self.is_ours(domain):
            raise CommandFailed("not-ours", f"{name} was not made by this provider")
        _cut_power(domain)
        domain.undefineFlags(
            libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
        )

    @staticmethod
    def is_ours(domain: Any) -> bool:
        """Return whether a machine carries the provider's tag."""
        try:
            domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, TAG)
        except libvirt.libvirtError:
            return False
        return True

    def require_off(self, name: str) -> Mapping[str, Any]:
        """Return what a machine is, which has to be off. Raises CommandFailed."""
        found = self.describe(name)
        if found["state"] != OFF:
            raise CommandFailed("machine-not-off", f"{name} has to be off, but it is {found['state']}")
        return found

    def _shut_down(self, domain: Any) -> None:
        with suppress(libvirt.libvirtError):
            domain.shutdown()
        try:
            wait_until(lambda: not domain.isActive(), Deadline.after(self._shutdown_s), f"shutdown of {domain.name()}")
        except DeadlineExceeded:
            _cut_power(domain)

    def _find(self, name: str) -> Any:
        try:
            return self._host.connect().lookupByName(name)
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise ConnectionError(f"libvirt: {error.get_error_message()}") from error

    @staticmethod
    def _state(domain: Any) -> str:
        if not domain.isActive():
            return OFF
        return PAUSED if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED else ON


def _cut_power(domain: Any) -> None:
    # The graceful way of QEMU, not of the guest: bitmaps are written to the images before it ends.
    with suppress(libvirt.libvirtError):
        if domain.isActive():
            domain.destroy()


def hardware_of(document: ET.Element) -> dict[str, str]:
    """Return ``architecture`` and ``firmware`` of a machine, as a support matrix names them. Pure."""
    system, kind = document.find("os"), document.find("os/type")
    firmware = system is not None and (
        system.get("firmware") == "efi" or system.find("loader[@type='pflash']") is not None
    )
    return {
        "architecture": kind.get("arch", UNKNOWN) if kind is not None else UNKNOWN,
        "firmware": UEFI if firmware else BIOS,
    }


def _document(domain: Any) -> ET.Element:
    return ET.fromstring(domain.XMLDesc(0))  # noqa: S314 - libvirt's own document
