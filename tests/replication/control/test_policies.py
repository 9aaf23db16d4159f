"""A policy that makes no sense is refused; every field of one that does has an effect on every machine under it."""

from __future__ import annotations

import pytest
from control_stand_ins import POLICY, soon

from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.policies import Policy, parse_policy
from lab.stacks.errors import InvalidRequest, OperationRefused


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"retention_s": 10}, "policy.retention_s"),
        ({"rpo_threshold_s": 10}, "policy.rpo_threshold_s"),
        ({"application_consistent_interval_s": 10}, "policy.application_consistent_interval_s"),
        ({"application_consistent_interval_s": 7200}, "policy.application_consistent_interval_s"),
        ({"application_consistent_interval_s": 3600, "retention_s": 0}, "policy.application_consistent_interval_s"),
        ({"master_target_port": 9443}, "policy.master_target_port"),
        ({"pruning": [{"after_s": 5, "every_s": 5}, {"after_s": 5, "every_s": 10}]}, "policy.pruning"),
        ({"pruning": [{"after_s": 5, "every_s": 5, "colour": 1}]}, "policy.pruning[0]"),
        ({"pruning": [{"after_s": 5, "every_s": 0}]}, "policy.pruning[0].every_s"),
        ({"pruning": [{"after_s": n, "every_s": 2**n} for n in range(17)]}, "policy.pruning"),
        ({"pruning": "often"}, "policy.pruning"),
        ({"authentication": "password"}, "policy.authentication"),
        ({"colour": "blue"}, "policy"),
    ],
)
def test_nonsense_is_refused_and_its_place_is_named(change, place):
    with pytest.raises(BadRequest) as refused:
        parse_policy({**POLICY, **change})
    assert str(refused.value).startswith(place)


def test_what_makes_sense_is_taken():
    assert parse_policy({**POLICY, "retention_s": 0}).retention.window_s == 0
    assert parse_policy({**POLICY, "pruning": []}).pruning == ()
    assert parse_policy({**POLICY, "application_consistent_interval_s": 3600}) is not None


def test_nonsense_changes_nothing(world):
    world.protected()
    before = world.stack.policy("standard")
    with pytest.raises(InvalidRequest):
        world.stack.put_policy("standard", {**POLICY, "retention_s": 1})
    assert world.stack.policy("standard") == before
    assert world.stack.machine("app1").job is None


@pytest.mark.requirement("V2A-POLICY-APPLIES")
def test_every_field_reaches_who_acts_on_it(world):
    world.protected()
    policy = {
        "recovery_point_interval_s": 20,
        "retention_s": 7000,
        "rpo_threshold_s": 70,
        "process_server_port": 9555,
        "master_target_port": 9556,
        "application_consistent_interval_s": 600,
        "pruning": [{"after_s": 100, "every_s": 50}],
    }
    of_hosts = {"authentication"}
    assert set(policy) | of_hosts == set(Policy.__dataclass_fields__)
    world.stack.wait_job(world.stack.put_policy("standard", policy)["app1"], soon())
    told = {
        "agent": world.agent.last("start-replication"),
        "process server": world.process_server.last("open-stream"),
        "master target": world.master_target.last("open-stream"),
    }
    assert told["agent"]["interval_s"] == 20
    assert told["agent"]["application_interval_s"] == 600
    assert told["agent"]["process_server"]["port"] == 9555
    assert told["process server"]["data_port"] == 9555
    assert told["process server"]["master_target"]["port"] == 9556
    assert told["master target"]["data_port"] == 9556
    assert told["master target"]["retention_s"] == 7000
    assert told["master target"]["pruning"] == policy["pruning"]
    assert told["master target"]["fresh"] is False
    assert {key: world.stack.policy("standard")[key] for key in policy} == policy


def test_a_policy_and_its_jobs_are_stored_together(world):
    world.protected()
    world.agent.answers["cut"] = lambda _: world.release.wait(10) and {}
    import threading

    world.release = threading.Event()
    job = world.stack.start("app1", "cut")
    with pytest.raises(OperationRefused) as refused:
        world.stack.put_policy("standard", {**POLICY, "rpo_threshold_s": 99})
    assert refused.value.reason == "job-running"
    assert world.stack.policy("standard")["rpo_threshold_s"] == 60
    world.release.set()
    world.stack.wait_job(job, soon())
