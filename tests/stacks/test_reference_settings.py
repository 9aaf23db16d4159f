from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from lab.errors import BadInput
from lab.replication.configuration_server.groups.document import parse_group
from lab.replication.configuration_server.plans.document import Action, parse_plan
from lab.replication.configuration_server.policies import parse_policy
from lab.replication.configuration_server.settings_document import parse_settings
from lab.replication.retention import STANDARD_THINNING, Thinning
from lab.stacks.reference.settings import group_document, machine_settings, plan_document, policy_document
from lab.topology.load import load_topology
from lab.topology.naming import mac_for

TOPOLOGIES = Path(__file__).parents[2] / "topologies"


@pytest.fixture(scope="module")
def topology():
    return load_topology(TOPOLOGIES / "embedded.yaml")


@pytest.fixture
def document(topology):
    return machine_settings(topology, "app1", partial(mac_for, topology.name))


def test_the_configuration_server_accepts_what_the_topology_says(topology, document):
    settings = parse_settings(document)
    assert [disk.name for disk in settings.disks] == ["system", "data"]
    assert settings.change_log.serial == "changes"
    assert (settings.primary_fabric, settings.site.recovery_fabric) == ("primary", "recovery")
    assert parse_policy(policy_document(topology.stack.policies["standard"])).rpo_threshold_s == 60


def test_every_field_of_a_policy_arrives(topology):
    plain = topology.stack.policies["standard"]
    assert parse_policy(policy_document(plain)).pruning == STANDARD_THINNING
    full = type(plain).model_validate(
        {
            "recovery_point_interval": "20 s",
            "retention": "3 h",
            "rpo_threshold": "1 min",
            "application_consistent_interval": "1 h",
            "pruning": [{"after": "1 h", "one_per": "10 min"}],
        }
    )
    parsed = parse_policy(policy_document(full))
    assert (parsed.recovery_point_interval_s, parsed.retention_s, parsed.rpo_threshold_s) == (20, 10800, 60)
    assert parsed.application_consistent_interval_s == 3600
    assert parsed.pruning == (Thinning(3600, 600),)


def test_the_configuration_server_accepts_the_topologys_groups(topology):
    group = parse_group("shop", group_document(topology, "shop"))
    assert group.names == ("app1", "app2")
    assert [member.address for member in group.members] == ["10.10.0.11", "10.10.0.12"]
    assert [member.replica_address for member in group.members] == ["10.20.0.11", "10.20.0.12"]
    assert not group.consistent
    assert parse_group("shop", group_document(load_topology(TOPOLOGIES / "group.yaml"), "shop")).consistent


def test_the_configuration_server_accepts_the_topologys_plans():
    plan = parse_plan(plan_document(load_topology(TOPOLOGIES / "group.yaml").stack.plans["shop"]))
    assert [group.machines for group in plan.groups] == [("app1",), ("app2",)]
    script, manual = plan.groups[0].after
    assert script == Action(script="note-start", timeout_s=60)
    assert manual.manual.startswith("Look whether")


def test_addresses_are_those_that_the_sender_reaches(document):
    assert document["process_server"] == {"name": "ps1", "address": "10.10.0.21"}
    assert document["master_target"] == {"name": "mt1", "address": "10.30.0.31"}
    assert document["failback"]["process_server"] == {"name": "ps1", "address": "10.30.0.21"}
    assert document["failback"]["master_target"]["name"] == "ps1"


def test_the_management_card_keeps_its_address_and_the_others_get_their_own(topology, document):
    management, recovery = document["replica_nics"]
    assert management["mac"] == mac_for(topology.name, "app1", "management")
    assert management["address"] is None
    assert recovery["address"] == "10.20.0.11"
    assert recovery["routes"] == [{"to": "10.30.0.0/24", "via": "10.20.0.31"}]
    macs = {card["mac"] for card in (*document["replica_nics"], *document["test_nics"])}
    assert len(macs) == 3


def test_a_machine_that_is_not_protected_has_no_settings(topology):
    with pytest.raises(BadInput, match="no entry for ps1"):
        machine_settings(topology, "ps1", partial(mac_for, topology.name))


def with_machine(topology, name, **changes):
    machine = topology.machines[name].model_copy(update=changes)
    return topology.model_copy(update={"machines": {**topology.machines, name: machine}})


def test_a_server_that_nobody_reaches_is_the_users_error(topology):
    alone = with_machine(topology, "app1", interfaces=topology.machines["app1"].interfaces[:1])
    with pytest.raises(BadInput, match="no way to ps1"):
        machine_settings(alone, "app1", partial(mac_for, topology.name))


def test_a_protected_machine_without_replica_is_the_users_error(topology):
    with pytest.raises(BadInput, match=r"machines\.app1.*'replica'"):
        machine_settings(with_machine(topology, "app1", replica=None), "app1", partial(mac_for, topology.name))


def test_without_a_way_back_there_is_none_in_the_settings(topology):
    protection = topology.stack.protect["app1"].model_copy(update={"failback": None})
    stack = topology.stack.model_copy(update={"protect": {"app1": protection}})
    one_way = topology.model_copy(update={"stack": stack})
    assert "failback" not in machine_settings(one_way, "app1", partial(mac_for, topology.name))
