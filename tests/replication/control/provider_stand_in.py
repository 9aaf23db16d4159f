"""A stand-in for the provider of a host: it has machines that are on or off, and tells of recovery points."""

from __future__ import annotations

import time
from contextlib import suppress

from lab.replication.common.control import ControlUnavailable

SYSTEM = {"system": "debian", "version": "12", "kernel": "6.1.0", "architecture": "x86_64", "firmware": "bios"}
"""A host of the matrix."""
HARDWARE = {"state": "on", "architecture": "x86_64", "firmware": "bios"}
DESCRIBED = {"describe-host": lambda _: {"system": SYSTEM}, "describe-machine": lambda _: HARDWARE}
"""What a host and a machine of the matrices say of themselves."""


class Host:
    """Machines and replica disks by name; ``receiver`` is the host that keeps the replicas of this one."""

    def __init__(self, world, name: str) -> None:
        self.machines: dict[str, str] = {}
        self.replica_disks: set[str] = set()
        self.machine_of: dict[str, str] = {}
        self.applied: dict[str, int] = {}
        self.receiver: Host = self
        self.provider = world.add("provider", name)
        self.provider.answers |= {
            **DESCRIBED,
            "power": self.power,
            "start-machine": self.start_machine,
            "start-guest": self.start_guest,
            "remove-machine": self.remove,
            "create-replica-disks": self.places,
            "adopt-disks": self.places,
            "retake-disks": self.places,
            "delete-replica-disks": self.delete,
            "open-stream": self.open_stream,
            "seal-stream": lambda order: {"applied": self.applied[order["stream"]]},
            "drain": self.drain,
            "cut": self.drain,
        }

    def power(self, order: dict) -> dict:
        state = "on" if order["action"] in ("on", "resume") else "off"
        self.machines[order["machine"]] = state
        return {"state": state}

    def start_machine(self, order: dict) -> dict:
        self.machines[order["guest"]] = "paused" if order["paused"] else "on"
        return {}

    def start_guest(self, order: dict) -> dict:
        self.machines[order["guest"]] = "on"
        return {}

    def remove(self, order: dict) -> dict:
        self.machines.pop(order["guest"], None)
        return {}

    def places(self, order: dict) -> dict:
        self.replica_disks.add(order["machine"])
        return {"disks": [{"index": disk["index"], "place": f"/images/{disk['name']}"} for disk in order["disks"]]}

    def delete(self, order: dict) -> dict:
        self.replica_disks.discard(order["machine"])
        return {}

    def open_stream(self, order: dict) -> dict:
        self.machine_of[order["stream"]] = order["machine"]
        self.applied.setdefault(order["stream"], 0)
        return {}

    def drain(self, order: dict) -> dict:
        """What is left becomes a point at the receiver; a server that is dead hears of it when it asks again."""
        with suppress(ControlUnavailable):
            self.receiver.point(order["stream"])
        return dict.fromkeys(("last_sequence", "sequence"), self.receiver.applied[order["stream"]])

    def first_copy(self, stream: str) -> None:
        """What both providers tell when the first copy is complete."""
        machine = self.receiver.machine_of[stream]
        self.provider.client.event("initial-replication-complete", {}, machine=machine, stream=stream)
        self.receiver.point(stream)

    def point(self, stream: str) -> None:
        """Tell of one more recovery point of a stream that is kept here."""
        now = time.time_ns()
        sequence = self.applied[stream] = self.applied[stream] + 1
        cut = {"begin_ns": now - 1000, "end_ns": now, "time": "now"}
        data = {"recovery_point": f"{stream}-{sequence}", "sequence": sequence, "cut": cut}
        self.provider.client.event("recovery-point", data, machine=self.machine_of[stream], stream=stream)


def two_hosts(world) -> tuple[Host, Host]:
    """Return hosts that keep each other's replicas."""
    one, two = Host(world, "hv1"), Host(world, "hv2")
    one.receiver, two.receiver = two, one
    return one, two
