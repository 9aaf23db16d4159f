"""Which host, how it is trusted, and where on it a lab's objects go."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Trust:
    """How the host proves who it is; there is no way to leave that out.

    ``certificate`` (PEM) is a CA, or with ``pinned`` the host's own certificate, whatever name it carries.
    """

    certificate: Path
    pinned: bool = False

    def context(self) -> ssl.SSLContext:
        """Return a context that verifies. Raises OSError, ssl.SSLError for a file that holds no certificate."""
        context = ssl.create_default_context(cafile=self.certificate)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.pinned:
            context.check_hostname = False
            # The pinned certificate is trusted by itself, also when another one has signed it.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


@dataclass(frozen=True)
class Target:
    """A host or vCenter, and the account to use there."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    trust: Trust


@dataclass(frozen=True)
class Placement:
    """Where a lab's objects go. Names left empty: the only, or the first, that the host has."""

    datacenter: str = ""
    datastore: str = ""
    host: str = ""
    switch: str = "vSwitch0"
    management: str = "recovery-lab management"
    """The port group of management cards."""
    management_with_host: str = "recovery-lab management with host"
    """The same, for machines that may call services of the lab's host."""
