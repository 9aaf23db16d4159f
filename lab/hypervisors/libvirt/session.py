"""One connection to libvirt, its errors translated, and the lab's objects on it."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import libvirt

from lab.hypervisors.libvirt.xml import TAG, domain_name
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound, Unreachable
from lab.networks.protocol import NetworkError

_MISSING = {libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_ERR_NO_STORAGE_VOL, libvirt.VIR_ERR_NO_STORAGE_POOL}
_CONFLICT = {
    libvirt.VIR_ERR_OPERATION_INVALID,
    libvirt.VIR_ERR_DOM_EXIST,
    libvirt.VIR_ERR_STORAGE_VOL_EXIST,
    libvirt.VIR_ERR_OPERATION_FAILED,
}


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn a libvirt error into ours, naming ``what`` was being done."""
    try:
        yield
    except libvirt.libvirtError as error:
        raise _kind(error)(f"{what}: {error.get_error_message()}") from error


def _kind(error: libvirt.libvirtError) -> type[HypervisorError]:
    # What the other side says carries a domain of its own; that of RPC is of the connection itself.
    if error.get_error_domain() == libvirt.VIR_FROM_RPC:
        return Unreachable
    code = error.get_error_code()
    return NotFound if code in _MISSING else Conflict if code in _CONFLICT else HypervisorError


@contextmanager
def switched(what: str) -> Iterator[None]:
    """Turn a switch's error into ours, naming ``what`` it happened to."""
    try:
        yield
    except NetworkError as error:
        raise HypervisorError(f"{what}: {error}") from error


@dataclass(frozen=True)
class Session:
    """A libvirt connection that looks at one lab only."""

    connection: Any
    lab: str

    def find(self, machine: str) -> Any:
        """Return the domain of a machine. Raises NotFound, also when a foreign domain has the name."""
        with translated(f"machine {machine}"):
            domain = self.connection.lookupByName(domain_name(self.lab, machine))
        if owner_of(domain) != (self.lab, machine):
            raise NotFound(f"machine {machine}: the domain {domain.name()} is not this lab's")
        return domain

    def domains(self) -> list[Any]:
        """Return the lab's domains, ordered by machine name."""
        with translated("list of machines"):
            found = self.connection.listAllDomains()
        mine = [domain for domain in found if owner_of(domain)[0] == self.lab]
        return sorted(mine, key=self.name_of)

    def strays(self) -> list[Any]:
        """Return the domains that have a name of the lab and no tag: the bench makes such, by ``virt-install``."""
        with translated("list of machines"):
            found = self.connection.listAllDomains()
        named = [domain for domain in found if domain.name().startswith(domain_name(self.lab, ""))]
        return [domain for domain in named if not any(owner_of(domain))]

    def name_of(self, domain: Any) -> str:
        """Return what the lab calls the machine of a domain."""
        return owner_of(domain)[1]

    def document(self, domain: Any, *, inactive: bool = False) -> ET.Element:
        """Return a domain's XML; it comes from libvirt itself, so entity tricks are out of question."""
        with translated(f"description of {domain.name()}"):
            return ET.fromstring(domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE if inactive else 0))  # noqa: S314


def owner_of(domain: Any) -> tuple[str, str]:
    """Return (lab, machine) of the tag on a domain, or empty strings."""
    try:
        text = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, TAG)
    except libvirt.libvirtError:
        return "", ""
    element = ET.fromstring(text)  # noqa: S314 - our own tag, from libvirt
    return element.get("lab", ""), element.get("name", "")


def silence_library() -> None:
    """Keep libvirt from printing errors to stderr: they arrive as exceptions."""
    libvirt.registerErrorHandler(_ignore, None)


def _ignore(_context: object, _error: object) -> None:
    return None
