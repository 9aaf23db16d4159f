"""BMCs, through which physical machines are installed and switched."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from lab.topology.part import Part
from lab.topology.secrets import GeneratedSecret, Secret


class Ipmi(Part):
    """Power by IPMI instead of Redfish, with the BMC's user and password; a real BMC's console is recorded by it too.

    ``allowed``: a person has said so, because IPMI gives a hash of the password to anyone who asks. ``port`` is UDP's,
    623 at a real BMC; an emulated one has a free one.
    """

    allowed: bool = False
    port: int | None = Field(default=None, ge=1, le=65535)

    @model_validator(mode="after")
    def _only_when_allowed(self) -> Self:
        if not self.allowed:
            raise ValueError(
                "a password's hash is given away by IPMI: say 'ipmi: {allowed: true}', or leave 'ipmi' out"
            )
        return self


class Bmc(Part):
    """The BMC of a physical machine (Redfish): a real one (``endpoint``), or an emulated one with its machine.

    ``emulated``: the lab makes a bare virtual machine on the host of the site, and an emulated BMC that alone may
    switch it. ``system`` is the machine's id at a real BMC, needed when that has several. ``certificate`` is a PEM file
    with the BMC's own certificate, which is pinned; a relative path starts at the topology file. ``password`` is a
    reference. ``ipmi``: power goes that way; media, boot source and lease have no other way than Redfish.
    """

    emulated: bool = False
    endpoint: str | None = Field(default=None, pattern=r"^https://[^/@]+$")
    ipmi: Ipmi | None = None
    system: str | None = Field(default=None, min_length=1)
    user: str | None = Field(default=None, min_length=1)
    password: Secret | None = None
    certificate: Path | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if self.emulated == (self.endpoint is not None):
            raise ValueError("a BMC has either 'emulated: true' or an 'endpoint'")
        needed = ("user", "password", "certificate")
        given = [name for name in (*needed, "system") if getattr(self, name) is not None]
        if self.ipmi is not None and self.ipmi.port is not None:
            given.append("ipmi.port")
        if self.emulated and given:
            raise ValueError(f"an emulated BMC makes these itself: {', '.join(given)}")
        missing = [name for name in needed if name not in given]
        if not self.emulated and missing:
            raise ValueError(f"a BMC with 'endpoint' needs {', '.join(repr(name) for name in missing)}")
        if isinstance(self.password, GeneratedSecret):
            message = "the password of a BMC is {env: NAME} or {file: PATH}: nobody can make it up"
            raise ValueError(message)  # noqa: TRY004 - what pydantic reports
        return self
