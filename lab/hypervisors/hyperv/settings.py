"""Which host, how it is trusted and logged in to, and where files are exchanged with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from lab.hypervisors.trust import Trust

PORT = 5986


class Login(StrEnum):
    """How the account proves itself; Basic sends the password inside of TLS, Kerberos needs a ticket and pykerberos."""

    NTLM = "ntlm"
    KERBEROS = "kerberos"
    BASIC = "basic"


@dataclass(frozen=True)
class Target:
    """A host's WinRM service over HTTPS, and the account to use there.

    ``exchange`` is where the host's folder ``recovery-lab/exchange`` of drive C is on this machine: a share of a real
    host, mounted here.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    trust: Trust
    exchange: Path
    login: Login = Login.NTLM

    @property
    def url(self) -> str:
        """Where the service answers."""
        return f"https://{self.host}:{self.port}/wsman"
