"""Replication relations of machines, as states only: nothing here moves data, the provider of a stack does.

The order of states is that of Microsoft's documentation (facts/hyperv-and-bmc.md 3.6); which other pairs a real host
refuses, and how, is [mem].
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field

READY, COPYING, WAITING = "ReadyForInitialReplication", "InitialReplicationInProgress", "WaitingForInitialReplication"
REPLICATING, SUSPENDED = "Replicating", "Suspended"
PREPARED, FAILING_OVER, FAILED_OVER = "PreparedForFailover", "FailedOverWaitingCompletion", "FailedOver"
PRIMARY, REPLICA, TEST = "Primary", "Replica", "TestReplica"
FREQUENCIES = (30, 300, 900)
"""Seconds between two changes that are sent: those that the product has (seed L20 and facts)."""


@dataclass
class Relation:
    """One side of the replication of one machine."""

    mode: str
    state: str
    primary: str
    """Name of the host that has the primary machine."""
    replica: str
    port: int
    authentication: str
    thumbprint: str
    frequency: int
    history: int
    application_hours: int
    compression: bool
    since: dt.datetime
    last: dt.datetime | None = None
    test: str | None = None
    """Name of the machine of a test failover."""
    planned: bool = False


@dataclass
class ReplicationServer:
    """What a host allows others to send to it."""

    enabled: bool = False
    authentication: str = "Kerberos"
    kerberos_port: int = 80
    certificate_port: int = 443
    thumbprint: str = ""
    location: str = ""
    any_server: bool = False
    entries: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Allowed primary server to its storage location and trust group."""

    def takes(self, server: str, authentication: str) -> bool:
        """Whether a server may replicate to this host."""
        both = self.authentication == "CertificateAndKerberos"
        kinds = {"Kerberos", "Certificate"} if both else {self.authentication}
        known = any(server.casefold() == entry.casefold() for entry in self.entries)
        return self.enabled and authentication in kinds and (self.any_server or known)
