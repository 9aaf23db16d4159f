"""Every machine has the time of this host, and servers are still heard of. About ten seconds.

A machine that goes on from a saved lab has the time of then until the lab sets its clock; certificates are
not valid then, or not any more.
"""

from __future__ import annotations

import json

import pytest

from fixtures.stacks import wait_heard_of
from lab.machines.clock import read_clock
from lab.provision.lab import Lab, LabMachine
from lab.stacks.protocol import Stack
from lab.topology.machines import Role
from lab.topology.model import Topology
from reports.evidence import EvidenceRecorder

BOOTED_SECONDS = 2.0
"""A machine that booted has taken whole seconds from its hardware clock. In a lab that goes on from a saved one, those
that got their agent have booted too."""


def test_every_machine_has_the_time_of_this_host(topology: Topology, lab: Lab, evidence: EvidenceRecorder) -> None:
    readings = {name: read_clock(lab.machine(name).ssh) for name in topology.machines}
    behind = {name: {"behind_s": reading.behind, "error_s": reading.error} for name, reading in readings.items()}
    evidence.attach("clocks.json", json.dumps(behind, indent=1).encode())
    wrong = {name for name, reading in readings.items() if abs(reading.behind) > BOOTED_SECONDS + reading.error}
    assert not wrong, behind


@pytest.mark.needs_agent
def test_every_server_is_heard_of(stack: Stack, servers: dict[Role, list[LabMachine]]) -> None:
    wait_heard_of(stack, servers)
