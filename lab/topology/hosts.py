"""Hosts that run machines, real or emulated, and the sites that have them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from lab.topology.part import Part
from lab.topology.secrets import GeneratedSecret, Secret
from lab.topology.units import Name


class LibvirtHost(Part):
    """A host that libvirt manages."""

    kind: Literal["libvirt"]
    uri: str

    @property
    def where(self) -> str:
        """Where it is, in a word for people."""
        return self.uri


class EsxiHost(Part):
    """An ESXi host or vCenter: a real one (``endpoint``), or an emulated one that the lab starts and ends.

    ``certificate`` is a PEM file with the real host's own certificate, which is pinned; a relative path starts at the
    topology file. The password is in the environment, under the name that ``password_variable`` says. ``vcenter``
    ``reader`` is an account of the role "read-only" for discovery; an emulated host has one of its own. ``vcenter``
    makes the emulated one a vCenter with one host; a real one is asked what it is.
    """

    kind: Literal["esxi"]
    emulated: bool = False
    vcenter: bool = False
    endpoint: str | None = Field(default=None, pattern=r"^https://[^/@]+$")
    certificate: Path | None = None
    user: str = "root"
    password_variable: str = Field(default="ESXI_PASSWORD", pattern="^[A-Z_][A-Z0-9_]*$")
    datastore: str = ""
    reader: str = ""
    reader_password_variable: str = Field(default="ESXI_READER_PASSWORD", pattern="^[A-Z_][A-Z0-9_]*$")

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.emulated == (self.endpoint is not None):
            raise ValueError("an esxi host has either 'emulated: true' or an 'endpoint'")
        if self.endpoint is not None and self.vcenter:
            raise ValueError("'vcenter' is for an emulated esxi host: a real one is asked what it is")
        if self.endpoint is not None and self.certificate is None:
            raise ValueError("an esxi host with 'endpoint' needs 'certificate', the PEM file of the host's certificate")
        return self

    @property
    def where(self) -> str:
        """Where it is, in a word for people."""
        return self.endpoint or ("vcenter (emulated)" if self.vcenter else "esxi (emulated)")


class HypervHost(Part):
    """A Hyper-V host: a real one (``endpoint``), or an emulated one that the lab starts and ends.

    ``certificate`` is a PEM file with the real host's own certificate, which is pinned, and ``exchange`` the folder at
    which its folder ``recovery-lab/exchange`` of drive C is mounted here; relative paths start at the topology file.
    ``password`` is a reference. ``vmm``: a VMM server answers at the same place. ``uri`` is the libvirt that has the
    machines of an emulated host.
    """

    kind: Literal["hyperv"]
    emulated: bool = False
    endpoint: str | None = Field(default=None, pattern=r"^https://[^/@]+$")
    certificate: Path | None = None
    exchange: Path | None = None
    user: str = "Administrator"
    password: Secret | None = None
    login: Literal["ntlm", "kerberos", "basic"] = "ntlm"
    vmm: bool = False
    uri: str = "qemu:///system"

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.emulated == (self.endpoint is not None):
            raise ValueError("a hyperv host has either 'emulated: true' or an 'endpoint'")
        if self.endpoint is None:
            return self
        missing = [name for name in ("certificate", "exchange", "password") if getattr(self, name) is None]
        if missing:
            raise ValueError(f"a hyperv host with 'endpoint' needs {', '.join(repr(name) for name in missing)}")
        if isinstance(self.password, GeneratedSecret):
            message = "the password of a real hyperv host is {env: NAME} or {file: PATH}: nobody can make it up"
            raise ValueError(message)  # noqa: TRY004 - what pydantic reports
        return self

    @property
    def where(self) -> str:
        """Where it is, in a word for people."""
        return self.endpoint or f"hyperv (emulated, over {self.uri})"


class NestedHost(Part):
    """A machine of the topology (role ``hypervisor-host``) that is a host itself, with its own libvirt."""

    kind: Literal["nested"]
    machine: Name

    @property
    def where(self) -> str:
        """Where it is, in a word for people."""
        return f"inside of {self.machine}"


Host = Annotated[LibvirtHost | EsxiHost | HypervHost | NestedHost, Field(discriminator="kind")]


class Site(Part):
    """A place; its machines run on one host."""

    host: Name
