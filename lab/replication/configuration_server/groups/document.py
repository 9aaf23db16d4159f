"""A group as operators hand it over: the document of ``PUT /v1/groups/{name}``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.parsing import Reader
from lab.replication.configuration_server.sessions import FORWARD

MOST_MEMBERS = 16
"""Domain 2.4."""
PORT = 20004
"""Seed L67."""
SAME_WORKLOAD = (
    "same-workload: multi-VM consistency is for machines that run one workload; every member waits for all others "
    "whenever a shared point is made"
)
"""Seed L67."""
STALL_BOUND_MS = 1000
LEAST_STALL_BOUND_MS, MOST_STALL_BOUND_MS = 50, 4000


@dataclass(frozen=True)
class GroupMember:
    """A machine of the group, and where the others reach it at the primary and at the recovery site."""

    name: str
    address: str
    replica_address: str | None = None

    def address_in(self, direction: str) -> str | None:
        """Return where it is reached while replication has this direction."""
        return self.address if direction == FORWARD else self.replica_address


@dataclass(frozen=True)
class Group:
    """A replication group. ``consistent`` is the option of seed L67: without it the members share nothing.

    ``stall_bound_ms``: no member holds its writes for longer in a round.
    """

    name: str
    members: tuple[GroupMember, ...]
    consistent: bool
    stall_bound_ms: int = STALL_BOUND_MS

    @property
    def names(self) -> tuple[str, ...]:
        """The members, in the order of the document; the first one makes the rounds."""
        return tuple(member.name for member in self.members)

    def order(self, direction: str) -> dict[str, Any] | None:
        """Return what agents are told, None where there is nothing to share."""
        addresses = {member.name: member.address_in(direction) for member in self.members}
        if not self.consistent or None in addresses.values():
            return None
        return {
            "name": self.name,
            "coordinator": self.names[0],
            "members": [{"name": name, "address": address} for name, address in addresses.items()],
            "port": PORT,
            "stall_bound_s": self.stall_bound_ms / 1000,
        }

    def to_json(self) -> dict[str, Any]:
        """Return the document."""
        members = [{key: value for key, value in vars(member).items() if value is not None} for member in self.members]
        return {"members": members, "consistent": self.consistent, "stall_bound_ms": self.stall_bound_ms}

    @property
    def advisories(self) -> tuple[str, ...]:
        """What an operator is advised about the group."""
        return (SAME_WORKLOAD,) if self.consistent else ()


def parse_group(name: str, value: object) -> Group:
    """Read a group.

    Raises:
        BadRequest: it is not one; the message names the place.
    """
    reader = Reader.of(value, "group")
    reader.only("members", "consistent", "stall_bound_ms")
    members = tuple(_member(item) for item in reader.objects("members"))
    if not 1 <= len(members) <= MOST_MEMBERS:
        raise BadRequest(f"group.members: 1 to {MOST_MEMBERS} machines are expected, not {len(members)}")
    if len({member.name for member in members}) != len(members):
        raise BadRequest("group.members: every machine has to be different")
    consistent = reader.flag("consistent")
    bound = (
        reader.integer("stall_bound_ms", LEAST_STALL_BOUND_MS, MOST_STALL_BOUND_MS)
        if reader.has("stall_bound_ms")
        else STALL_BOUND_MS
    )
    return Group(name, members, consistent, bound)


def _member(reader: Reader) -> GroupMember:
    reader.only("name", "address", "replica_address")
    replica = reader.address("replica_address") if reader.has("replica_address") else None
    return GroupMember(reader.name("name"), reader.address("address"), replica)
