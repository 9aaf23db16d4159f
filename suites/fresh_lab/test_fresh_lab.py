"""A test can have a lab to itself: what another one did is not there, the time is right, and no random number repeats.

About half a minute for each of the two on a lab that was saved before; else the first one waits for the boot.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import pytest

from fixtures.stacks import wait_heard_of
from lab.machines.clock import TOLERANCE_SECONDS, read_clock
from lab.provision.lab import Lab, LabMachine
from lab.stacks.protocol import Stack
from lab.topology.machines import Role
from lab.topology.model import Topology
from reports.evidence import EvidenceRecorder

pytestmark = pytest.mark.fresh_lab

TRACE = "/root/was-here"


@pytest.fixture(scope="session")
def drawn() -> dict[str, list[str]]:
    """Random numbers that machines drew, test after test."""
    return {}


def test_somebody_leaves_a_trace(
    topology: Topology, lab: Lab, drawn: dict[str, list[str]], evidence: EvidenceRecorder
) -> None:
    assert_as_new(topology, lab, drawn, evidence)


def test_the_next_one_does_not_find_it(
    topology: Topology, lab: Lab, drawn: dict[str, list[str]], evidence: EvidenceRecorder
) -> None:
    assert_as_new(topology, lab, drawn, evidence)
    assert all(len(numbers) == len(set(numbers)) for numbers in drawn.values()), drawn


def test_certificates_are_valid_and_servers_are_heard_of(stack: Stack, servers: dict[Role, list[LabMachine]]) -> None:
    """They talk TLS with each other, by clocks that stood still while the lab was saved."""
    wait_heard_of(stack, servers)


def assert_as_new(topology: Topology, lab: Lab, drawn: dict[str, list[str]], evidence: EvidenceRecorder) -> None:
    """See that a lab is as its stack's installation left it, and leave a trace on every machine."""
    went_on = lab.state.went_on is not None
    found = {name: _look(lab, name) for name in topology.machines}
    evidence.attach(
        "machines.json", json.dumps({name: asdict(seen) for name, seen in found.items()}, indent=1).encode()
    )
    for name, seen in found.items():
        assert not seen.trace, f"{name} has what another test left there"
        # Twice what the clock was set to: the stack's start has gone by, and a clock of a busy host drifts meanwhile.
        assert abs(seen.behind_s) <= 2 * TOLERANCE_SECONDS + seen.error_s or not went_on, found
        drawn.setdefault(name, []).append(seen.random)


@dataclass(frozen=True)
class Seen:
    """What a machine shows: a number of its random generator, another test's trace, and its clock."""

    random: str
    trace: bool
    behind_s: float
    error_s: float


def _look(lab: Lab, name: str) -> Seen:
    ssh = lab.machine(name).ssh
    reading = read_clock(ssh)
    text = ssh.shell(f"cat /proc/sys/kernel/random/uuid; test -e {TRACE} && echo trace; touch {TRACE}").stdout.split()
    return Seen(text[0], "trace" in text[1:], reading.behind, reading.error)
