"""What is refused of machines that are replicated from their host, and what hosts are told; providers are stand-ins."""

from __future__ import annotations

import pytest
from control_stand_ins import DISKS, POLICY, World, settings_of, soon
from provider_stand_in import DESCRIBED, HARDWARE, SYSTEM

from lab.stacks.errors import InvalidRequest, OperationRefused, StackError
from lab.stacks.machines import MachineState

CLOUD = {"capability_profile": "hyper-v", "policy": "standard"}


def host_settings(**more: object) -> dict:
    value = {
        "policy": "standard",
        "host": {"name": "hv1", "address": "10.30.0.31"},
        "recovery_host": {"name": "hv2", "address": "10.30.0.32"},
        "disks": DISKS,
        "cpus": 1,
        "memory_mib": 256,
        "replica_nics": [{"network": "secondary", "mac": "52:54:00:00:00:02", "address": "10.10.0.11", "prefix": 24}],
        "test_nics": [],
    }
    return {key: item for key, item in {**value, **more}.items() if item is not None}


@pytest.fixture
def hosts(tmp_path):
    world = World(tmp_path)
    for name in ("hv1", "hv2"):
        host = world.add("provider", name)
        host.answers |= DESCRIBED
        host.answers["create-replica-disks"] = lambda a: {
            "disks": [{"index": disk["index"], "place": f"/images/{disk['name']}"} for disk in a["disks"]]
        }
        setattr(world, name, host)
    world.stack.put_policy("standard", {**POLICY, "recovery_point_interval_s": 30})
    yield world
    world.close()


def set_up(hosts, **cloud):
    for name, host in (("one", "hv1"), ("two", "hv2")):
        hosts.stack.call("PUT", f"/v1/fabrics/vmm-{name}", {"kind": "vmm"})
        hosts.stack.call(
            "PUT", f"/v1/clouds/cloud-{name}", {"fabric": f"vmm-{name}", "hosts": [host], **CLOUD, **cloud}
        )
    hosts.stack.put_machine("app1", host_settings())


def refused(call, *arguments, **more):
    with pytest.raises(OperationRefused) as caught:
        call(*arguments, **more)
    return caught.value


@pytest.mark.requirement("GEN-H2S-VMM", "H2S-CLOUD", "H2S-HOSTS", "H2S-VAULT")
def test_a_secondary_site_needs_hosts_in_clouds(hosts):
    hosts.stack.put_machine("app1", host_settings())
    assert "no Hyper-V site and no cloud" in str(refused(hosts.do, "enable"))
    hosts.stack.call(
        "PUT", "/v1/fabrics/branch", {"kind": "hyper-v-site", "hosts": ["hv1", "hv2"], "policy": "standard"}
    )
    stand_alone = refused(hosts.do, "enable")
    assert stand_alone.reason == "not-set-up"
    assert "no VMM cloud" in str(stand_alone)
    with pytest.raises(StackError, match="comes after its VMM server"):
        hosts.stack.call("PUT", "/v1/clouds/cloud-one", {"fabric": "vmm-one", "hosts": ["hv1"], **CLOUD})
    hosts.stack.call("PUT", "/v1/fabrics/vmm-one", {"kind": "vmm"})
    for wrong in ({"capability_profile": "esx"}, {"hosts": []}):
        with pytest.raises(InvalidRequest):
            hosts.stack.call("PUT", "/v1/clouds/cloud-one", {"fabric": "vmm-one", "hosts": ["hv1"], **CLOUD, **wrong})
    assert hosts.hv1.commands == hosts.hv2.commands == []


@pytest.mark.requirement("H2S-VMM-TWO")
def test_a_single_vmm_server_is_possible_and_an_advisory(hosts):
    hosts.stack.call("PUT", "/v1/fabrics/vmm-one", {"kind": "vmm"})
    assert hosts.stack.call("GET", "/v1/fabrics")["advisories"] == ["single-vmm"]
    hosts.stack.call("PUT", "/v1/fabrics/vmm-two", {"kind": "vmm"})
    assert hosts.stack.call("GET", "/v1/fabrics")["advisories"] == []


@pytest.mark.requirement("H2S-POLICY")
def test_the_policy_is_that_of_the_cloud(hosts):
    hosts.stack.put_policy("other", {**POLICY, "recovery_point_interval_s": 300, "rpo_threshold_s": 900})
    set_up(hosts, policy="other")
    assert "have the policy other" in str(refused(hosts.do, "enable"))


@pytest.mark.requirement("H2S-POLICY")
def test_a_frequency_that_hosts_do_not_have_is_refused(hosts):
    hosts.stack.put_policy("standard", POLICY)
    set_up(hosts)
    assert refused(hosts.do, "enable").reason == "copy-frequency"


@pytest.mark.requirement("H2S-AGENT", "H2S-IR", "H2S-DATAPATH")
def test_enable_tells_both_hosts_what_they_need(hosts):
    set_up(hosts)
    hosts.do("enable")
    assert hosts.hv2.names() == ["describe-host", "create-replica-disks", "open-stream"]
    opened = hosts.hv2.last("open-stream")
    assert [disk["serial"] for disk in opened["disks"]] == ["/images/system", "/images/data"]
    assert (opened["process_server"], opened["data_port"], opened["fresh"]) == ("hv1", 9444, True)
    started = hosts.hv1.last("start-replication")
    assert started["receiver"] == {"name": "hv2", "address": "10.30.0.32", "port": 9444}
    assert (started["machine"], started["interval_s"], started["mode"]) == ("app1", 30, "copy")
    hosts.hv1.client.event("initial-replication-complete", {}, machine="app1", stream=hosts.stream())
    with pytest.raises(Exception, match="403"):
        hosts.point(hosts.hv1, 1)  # points are told by who keeps the replica
    hosts.point(hosts.hv2, 1)
    assert hosts.wait(MachineState.PROTECTED).health.status == "healthy"


@pytest.mark.requirement("H2S-AUTH-KRB", "H2S-AUTH-CERT", "H2S-POLICY")
def test_both_hosts_are_told_how_the_sending_one_authenticates(hosts):
    set_up(hosts)
    hosts.do("enable")
    told = (hosts.hv1, "start-replication"), (hosts.hv2, "open-stream")
    assert [host.last(command)["authentication"] for host, command in told] == ["certificate"] * 2
    policy = {**POLICY, "recovery_point_interval_s": 30, "authentication": "kerberos"}
    hosts.stack.wait_job(hosts.stack.put_policy("standard", policy)["app1"], soon())
    assert [host.last(command)["authentication"] for host, command in told] == ["kerberos"] * 2
    assert hosts.stack.policy("standard")["authentication"] == "kerberos"
    assert not hosts.hv2.last("open-stream")["fresh"]


@pytest.mark.requirement("H2S-AUTH-KRB")
def test_who_is_no_host_does_not_authenticate_by_kerberos(hosts):
    kerberos = {**POLICY, "authentication": "kerberos"}
    hosts.stack.protect("app2")
    with pytest.raises(InvalidRequest, match=r"policy\.authentication"):
        hosts.stack.put_policy("standard", kerberos)
    assert hosts.stack.policy("standard")["authentication"] == "certificate"
    hosts.stack.put_policy("tickets", kerberos)
    with pytest.raises(InvalidRequest, match=r"policy\.authentication"):
        hosts.stack.put_machine("app2", {**settings_of("app2"), "policy": "tickets"})
    hosts.stack.put_machine("app1", host_settings(policy="tickets"))


UNSUPPORTED = {**SYSTEM, "system": "sles", "version": "11.4"}


@pytest.mark.requirement("GEN-H2A-HOST")
@pytest.mark.parametrize("which", ["hv1", "hv2"])
def test_a_host_that_is_not_supported_is_refused_before_anything_is_made(hosts, which):
    set_up(hosts)
    getattr(hosts, which).answers["describe-host"] = lambda _: {"system": UNSUPPORTED}
    with pytest.raises(StackError, match=f"host {which}: system 'sles' is not supported"):
        hosts.do("enable")
    assert not {"create-replica-disks", "start-replication"} & {*hosts.hv1.names(), *hosts.hv2.names()}
    getattr(hosts, which).answers |= DESCRIBED
    hosts.do("enable")
    assert hosts.hv2.told("create-replica-disks")


@pytest.mark.requirement("GEN-H2A-HOST")
@pytest.mark.parametrize(
    ("found", "message"),
    [
        pytest.param({"state": "missing"}, "hv1 has no machine lab.app1", marks=pytest.mark.requirement("H2S-VM-ONE")),
        ({**HARDWARE, "firmware": "uefi"}, "firmware 'uefi' is not supported"),
        ({**HARDWARE, "architecture": "aarch64"}, "architecture 'aarch64' is not supported"),
        ({"state": "on"}, "'unknown' is not supported"),
    ],
)
def test_a_machine_whose_hardware_is_not_supported_is_refused(hosts, found, message):
    set_up(hosts)
    hosts.stack.put_machine("app1", host_settings(host={"name": "hv1", "guest": "lab.app1"}))
    hosts.hv1.answers["describe-machine"] = lambda _: found
    with pytest.raises(StackError, match=message):
        hosts.do("enable")
    assert hosts.hv1.last("describe-machine") == {"machine": "lab.app1"}
    assert "create-replica-disks" not in hosts.hv2.names()


@pytest.mark.requirement("GEN-H2A-HOST")
def test_a_system_that_is_not_supported_inside_of_a_machine_is_refused(hosts):
    set_up(hosts)
    host = {"name": "hv1", "system": {"id": "sles", "version": "11.4"}}
    hosts.stack.put_machine("app1", host_settings(host=host))
    refusal = refused(hosts.do, "enable")
    assert refusal.reason == "unsupported-system"
    assert "sles 11.4" in str(refusal), "what was found is not named"
    assert "debian 12" in str(refusal), "what is supported is not named"
    assert hosts.hv1.commands == hosts.hv2.commands == []
    hosts.stack.put_machine("app1", host_settings(host={**host, "system": {"id": "debian", "version": "12"}}))
    hosts.do("enable")


@pytest.mark.requirement("H2S-IR", "H2A-IR")
def test_a_start_time_goes_to_the_host(hosts):
    set_up(hosts)
    hosts.stack.put_machine("app1", host_settings(host={"name": "hv1", "start_at_ns": 7, "guest": "lab.app1"}))
    hosts.do("enable")
    started = hosts.hv1.last("start-replication")
    assert (started["start_at_ns"], started["machine"]) == (7, "lab.app1")


def test_a_group_across_machines_is_refused(hosts):
    set_up(hosts)
    group = {"members": [{"name": "app1", "address": "10.10.0.11"}], "consistent": True}
    assert refused(hosts.stack.call, "PUT", "/v1/groups/shop", group).reason == "not-supported"
    with pytest.raises(InvalidRequest, match="share no recovery points"):
        hosts.stack.put_machine("app1", host_settings(group="shop"))


@pytest.mark.requirement("H2S-PFO-ZERO", "H2S-PFO-OFF")
def test_a_machine_that_does_not_go_off_is_not_failed_over(hosts):
    set_up(hosts)
    hosts.do("enable")
    hosts.hv1.client.event("initial-replication-complete", {}, machine="app1", stream=hosts.stream())
    hosts.point(hosts.hv2, 1)
    hosts.wait(MachineState.PROTECTED)
    hosts.hv1.answers["power"] = lambda _: {"state": "on"}
    hosts.hv1.answers["cut"] = lambda _: {"sequence": 1}
    with pytest.raises(StackError, match="has to be off"):
        hosts.do("planned-failover")
    assert hosts.stack.machine("app1").state is MachineState.FAILOVER_FAILED
    assert "start-machine" not in hosts.hv2.names()
    assert "planned-failover" in hosts.stack.machine("app1").allowed


@pytest.mark.requirement("H2S-FO-RP", "H2A-FO-RP")
def test_a_plan_of_such_machines_can_be_planned_and_others_cannot(hosts):
    set_up(hosts)
    hosts.stack.protect("app2")
    for name, machine in (("hosts", "app1"), ("agents", "app2")):
        hosts.stack.put_plan(name, {"groups": [{"machines": [machine]}]})
    assert refused(hosts.stack.start_plan, "agents", "planned").reason == "not-supported"
    run = hosts.stack.start_plan("hosts", "planned")
    ended = hosts.stack.wait(
        lambda: hosts.stack.plan_run("hosts", run), lambda found: found.state.is_end, "end of the run", soon()
    )
    assert "planned-failover is not allowed while app1 is unprotected" in ended.machine("app1").detail


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"process_server": "ps1"}, "has no meaning"),
        ({"change_log": {"size": 1 << 30, "serial": "log"}}, "has no meaning"),
        ({"recovery_host": None}, "one of 'azure' and 'recovery_host'"),
        ({"host": None}, "'process_server' is missing"),
        ({"recovery_host": None, "azure": {"server": "site1", "source": "physical"}}, "'hyper-v' goes with 'host'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(hosts, more, message):
    with pytest.raises(InvalidRequest, match=message):
        hosts.stack.put_machine("app1", host_settings(**more))
