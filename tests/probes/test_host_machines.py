"""Machines that are replicated from their host to another one: the real server, with stand-ins for providers."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from control_stand_ins import PATIENCE, POLICY, QUICK, World
from provider_stand_in import Host, two_hosts
from test_host_rules import host_settings, set_up

from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState

_LONG = ("delivery", "command", "drain", "roll", "shutdown")
PATIENT = replace(QUICK, watch=600, **dict.fromkeys(_LONG, 10 * PATIENCE))
POINT_COMES_AFTER_S = 0.5
BUBBLE = [{"network": "bubble", "mac": "52:54:00:00:00:03", "address": "10.20.0.11", "prefix": 24}]


@pytest.fixture
def hosts(tmp_path):
    world = World(tmp_path, PATIENT)
    world.stack.put_policy("standard", {**POLICY, "recovery_point_interval_s": 30})
    yield world
    world.close()


@pytest.fixture
def protected(hosts):
    hosts.one, hosts.two = two_hosts(hosts)
    hosts.one.machines["app1"] = "on"
    set_up(hosts)
    hosts.stack.put_machine("app1", host_settings(test_nics=BUBBLE))
    hosts.do("enable")
    hosts.one.first_copy(hosts.stream())
    hosts.wait(MachineState.PROTECTED)
    return hosts


def running(host: Host) -> set[str]:
    return {name for name, state in host.machines.items() if state == "on"}


def last_words(world: World) -> list[str]:
    """Have the source give what its machine wrote last when the machine is off; its point comes a while later.

    Returns:
        The points of that; each is there once the source was asked.
    """
    source, spoken = world.one, []

    def drain(order: dict) -> dict:
        stream = order["stream"]
        applied = source.receiver.applied[stream]
        if not order["final"] or source.machines["app1"] != "off":
            return {"last_sequence": applied}
        spoken.append(f"{stream}-{applied + 1}")
        threading.Timer(POINT_COMES_AFTER_S, source.receiver.point, [stream]).start()
        return {"last_sequence": applied + 1}

    source.provider.answers["drain"] = drain
    return spoken


def is_away(host: Host) -> None:
    """Have a host do nothing for its own machines any more."""

    def broken(_: dict) -> dict:
        raise OSError("the host is gone")

    host.provider.answers |= dict.fromkeys(("drain", "cut", "power", "stop-replication"), broken)


def is_back(host: Host) -> None:
    host.provider.answers |= {"power": host.power, "drain": host.drain, "cut": host.drain}
    del host.provider.answers["stop-replication"]


@pytest.mark.requirement("H2S-PFO", "H2S-PFO-OFF", "H2S-PFO-ZERO", "H2S-PFO-PROT", "H2S-FO-SINGLE", "H2S-FB")
def test_a_planned_failover_goes_and_comes_back_with_the_last_writes(protected):
    hosts = protected
    spoken = last_words(hosts)
    hosts.do("planned-failover")
    assert [hosts.two.provider.last("start-machine")["recovery_point"]] == spoken, "not what was written last"
    assert (running(hosts.one), running(hosts.two)) == (set(), {"app1-replica"})
    hosts.do("commit")
    hosts.one.point(hosts.stream())
    assert hosts.wait(MachineState.PROTECTED_REVERSE).direction == "reverse"
    hosts.do("failback")
    assert (running(hosts.one), running(hosts.two)) == ({"app1"}, set())
    back = hosts.stream()
    assert hosts.one.provider.last("roll")["recovery_point"] == f"{back}-{hosts.one.applied[back]}"
    hosts.do("commit-failback")
    assert hosts.stack.machine("app1").state is MachineState.FAILED_BACK
    hosts.do("reprotect")
    hosts.one.first_copy(hosts.stream())
    assert hosts.wait(MachineState.PROTECTED).direction == "forward"


@pytest.mark.requirement("H2S-UFO", "H2S-UFO-UNPROT", "H2S-COMMIT", "H2S-RR", "H2S-RR-STATE", "LAB-FENCE")
def test_without_its_host_a_machine_fails_over_and_is_not_protected_until_it_is_asked_for(protected):
    hosts, stream = protected, protected.stream()
    hosts.two.point(stream)
    is_away(hosts.one)
    hosts.do("failover")
    assert hosts.two.provider.last("start-machine")["recovery_point"] == f"{stream}-2"
    assert running(hosts.two) == {"app1-replica"}
    assert "seal-stream" in hosts.two.provider.names(), "the old host could still send"
    hosts.do("commit")
    status = hosts.stack.machine("app1")
    assert (status.state, status.recovery_points) == (MachineState.FAILED_OVER, 0)
    assert not hosts.two.replica_disks, "points of before the commit could still be reached"
    is_back(hosts.one)
    assert running(hosts.one) == {"app1"}, "nobody has told it"
    hosts.do("reprotect")
    assert running(hosts.one) == set()
    told = hosts.two.provider.last("start-replication")
    assert (told["machine"], told["mode"], told["receiver"]["name"]) == ("app1-replica", "checksum", "hv1")
    hosts.two.first_copy(hosts.stream())
    assert hosts.wait(MachineState.PROTECTED_REVERSE).direction == "reverse"
    assert (running(hosts.one), running(hosts.two)) == (set(), {"app1-replica"})


@pytest.mark.requirement("H2S-TFO", "LAB-TFO-ISOLATION")
def test_a_test_failover_runs_beside_the_machine_and_leaves_nothing(protected):
    hosts = protected
    hosts.do("test-failover")
    assert (running(hosts.one), running(hosts.two)) == ({"app1"}, {"app1-test"})
    assert [card["network"] for card in hosts.two.provider.last("start-machine")["nics"]] == ["bubble"]
    assert hosts.stack.machine("app1").state is MachineState.PROTECTED
    hosts.do("cleanup-test-failover")
    assert not hosts.two.machines
    assert hosts.two.replica_disks == {"app1"}


@pytest.mark.requirement("H2S-AGENT")
def test_both_hosts_need_a_provider(hosts):
    Host(hosts, "hv1")
    set_up(hosts)
    with pytest.raises(OperationRefused, match="provider-hv2 is not registered"):
        hosts.do("enable")
