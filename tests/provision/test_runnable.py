"""A machine that cannot hold a lab says so before anything is touched, with every lack and its cure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.provision.runnable import facts_for, refuse_unrunnable
from lab.topology.load import load_topology

EMBEDDED = Path(__file__).parents[2] / "topologies" / "embedded.yaml"


def test_all_lacks_are_named_at_once(tmp_path: Path) -> None:
    topology = load_topology(EMBEDDED)
    facts = facts_for(topology, tmp_path)
    poor = replace(facts, disk_free_bytes=1 << 20, memory_available_bytes=1 << 20, disk_path="/small")
    with pytest.raises(LabError, match=r"(?s)memory:.*disk:.*free space in /small"):
        refuse_unrunnable(topology, poor)


def test_a_machine_that_has_everything_is_not_refused(tmp_path: Path) -> None:
    topology = load_topology(EMBEDDED)
    facts = facts_for(topology, tmp_path)
    reachable = tuple(replace(fact, reachable=True) for fact in facts.libvirt)
    rich = replace(
        facts, disk_free_bytes=1 << 50, memory_available_bytes=1 << 40, missing_tools=frozenset(), libvirt=reachable
    )
    refuse_unrunnable(topology, rich)
