"""What a replication stack may be able to do. One that cannot says so itself, and why."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Ability(StrEnum):
    """Something that suites ask of a stack, in words for a certificate."""

    RECOVERY_POINTS = "recovery points"
    """Several instants of the past are kept, and one can be had now."""
    WHOLE_MACHINES = "replicas of whole machines"
    """The system disk is replicated, and a failover makes a machine that boots from it, under the same name."""
    SERVERS = "agents and servers of the specification"
    """A mobility service that is pushed, process servers, master targets, one control API on 443."""
    COMMIT = "a commit of its own"
    """A failover is followed by a commit, and protection has to be enabled again after a failback."""
    TEST_FAILOVER = "test failover"
    GROUPS = "groups of machines that share an instant"
    PLANS = "recovery plans"
    MANAGEMENT = "a web site and a console for management"
    SUPPORT_MATRIX = "a matrix of supported systems"
    ENCRYPTION = "encryption on the wire"
    SYNCHRONOUS = "acknowledged writes are on both sides"
    """A write is acknowledged once the replica has it on its disk."""


Lacks = Mapping[Ability, str]
"""What a stack cannot do, and why, in a sentence for the certificate."""
