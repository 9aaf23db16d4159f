"""What an agent is told about its replication group: part of ``start-replication``."""

from __future__ import annotations

from dataclasses import dataclass

from lab.replication.common.durable import JSON

PORT = 20004
"""Seed L67."""
STALL_BOUND_S = 1.0
LEAST_STALL_BOUND_S = 0.05
MOST_STALL_BOUND_S = 4.0
"""Less than the time after which the guardian lifts any suspension."""


@dataclass(frozen=True)
class Member:
    """A machine of the group, and where the others reach it."""

    name: str
    address: str


@dataclass(frozen=True)
class GroupOrder:
    """A group: one member makes the rounds, all listen on ``port``.

    No machine holds its writes for longer than ``stall_bound_s`` in a round, whatever the others do.
    """

    name: str
    coordinator: str
    members: tuple[Member, ...]
    port: int = PORT
    stall_bound_s: float = STALL_BOUND_S

    @classmethod
    def from_json(cls, value: JSON) -> GroupOrder:
        """Read the arguments.

        Raises:
            ValueError: the coordinator is not a member, or the bound is out of range.
        """
        order = cls(
            name=str(value["name"]),
            coordinator=str(value["coordinator"]),
            members=tuple(Member(str(item["name"]), str(item["address"])) for item in value["members"]),
            port=int(value.get("port", PORT)),
            stall_bound_s=float(value.get("stall_bound_s", STALL_BOUND_S)),
        )
        if order.coordinator not in {member.name for member in order.members}:
            raise ValueError(f"coordinator {order.coordinator!r} is no member of group {order.name}")
        if not LEAST_STALL_BOUND_S <= order.stall_bound_s <= MOST_STALL_BOUND_S:
            raise ValueError(f"a stall bound of {order.stall_bound_s} s is not possible")
        return order

    def to_json(self) -> JSON:
        """Return what ``from_json`` reads."""
        return {**vars(self), "members": [vars(member) for member in self.members]}

    def address_of(self, name: str) -> str:
        """Return where the others reach a member. Raises KeyError for a machine that is none."""
        return {member.name: member.address for member in self.members}[name]

    def others(self, name: str) -> tuple[Member, ...]:
        """Return all members but one."""
        return tuple(member for member in self.members if member.name != name)
