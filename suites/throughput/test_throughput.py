"""Numbers beside the speed of the bare path, measured in the same run. Nothing here is a deadline."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from fixtures.equality import point_now
from fixtures.host_ways import sent_to_recovery_host
from fixtures.outages import Outages
from fixtures.stacks import Protected
from fixtures.workloads import Workload
from lab.hypervisors.nested.host import DISKS
from lab.measure.disks import device_by_serial
from lab.measure.rpo import Published, age_over_time, undisturbed
from lab.measure.throughput import network_rate, parse_stages, read_rate, reduction, write_rate
from lab.oracle.group import BLOCK
from lab.stacks.addresses import address_towards
from lab.stacks.protocol import Stack
from lab.topology.model import Topology

Record = Callable[..., None]
MB = 1e6
MIB = 1 << 20
DELTA_MIB = 16
STAGES = "/var/lib/recovery/process-server/statistics.jsonl"


@pytest.mark.requirement("LAB-THROUGHPUT")
def test_the_bare_path(primary_role: Protected, topology: Topology, record_measurement: Record) -> None:
    machine = primary_role.machine
    disk = device_by_serial(machine.ssh, primary_role.disks[0].name)
    rates = {"disk read, protected machine": read_rate(machine.ssh, disk)}
    for sender, receiver in pairwise(primary_role.path):
        address = address_towards(topology, topology.machines[sender.name].interfaces, receiver.name)
        rates[f"network, {sender.name} to {receiver.name}"] = network_rate(receiver.ssh, sender.ssh, address)
    if primary_role.from_host is not None and primary_role.from_host.recovery_host is not None:
        rates["disk write, recovery host"] = write_rate(primary_role.recovery_host.ssh, str(DISKS))
    elif topology.azure is None and primary_role.to_peer is None:
        rates["disk write, master target"] = write_rate(primary_role.master_target.ssh, "/var/lib/recovery")
    for context, rate in rates.items():
        record_measurement("baseline-rate", rate / MB, "MB/s", context=context)
        assert rate > 0, context


@pytest.mark.requirement("LAB-THROUGHPUT")
def test_initial_replication(stack: Stack, protected: list[Protected], record_measurement: Record) -> None:
    events = stack.events(0)
    for role in protected:
        stream = stack.machine(role.name).attributes["stream"]
        mine = [event for event in events if event.stream == stream]
        done = next(event for event in mine if event.kind == "initial-replication-complete")
        seconds = (done.time_ns - mine[0].time_ns) / 1e9
        assert seconds > 0
        record_measurement(
            "initial-replication-rate", role.bytes / MB / seconds, "MB/s", context=f"{role.name}, of disk size"
        )
        record_measurement("initial-replication-time", seconds, "s", context=role.name)


@pytest.mark.needs_agent
@pytest.mark.requirement("LAB-THROUGHPUT", "V2A-PS-COMPRESS", "V2S-PS-OPT")
def test_reduction(
    stack: Stack, primary_role: Protected, workloads: dict[str, Workload], record_measurement: Record
) -> None:
    stream = stack.machine(primary_role.name).attributes["stream"]
    stages = [
        stage for stage in parse_stages(primary_role.process_server.ssh.check("cat", STAGES)) if stage.stream == stream
    ]
    written = 2 * workloads[primary_role.name].witness.steps() * BLOCK
    record_measurement("reduction", reduction(stages), "x", context="changed bytes over bytes sent on")
    record_measurement("written-by-workload", written / MB, "MB", context=primary_role.name)
    record_measurement("sent-on", sum(stage.wire_bytes for stage in stages) / MB, "MB", context=primary_role.name)
    assert reduction(stages) > 1


@pytest.mark.needs_hosts
@pytest.mark.needs_secondary_site
@pytest.mark.requirement("LAB-THROUGHPUT")
def test_traffic_of_a_delta_between_hosts(stack: Stack, primary_role: Protected, record_measurement: Record) -> None:
    """The file system makes other blocks change too, so what is sent is told beside what an application wrote."""
    point_now(stack, primary_role)
    before = sent_to_recovery_host(primary_role)
    where = (f"of={primary_role.data_disk.mount}/delta", "bs=1M", f"count={DELTA_MIB}", "conv=fsync")
    primary_role.machine.ssh.check("dd", "if=/dev/urandom", *where)
    point_now(stack, primary_role)
    sent = sent_to_recovery_host(primary_role) - before
    record_measurement("delta-written", DELTA_MIB * MIB / MB, "MB", context=f"{primary_role.name}, random, in one file")
    record_measurement("delta-sent", sent / MB, "MB", context="by its host, with everything else that changed")
    assert sent > DELTA_MIB * MIB, "random bytes cannot become fewer"


@pytest.mark.needs_points
@pytest.mark.requirement("LAB-RPO")
def test_the_age_of_the_newest_point_over_time(
    stack: Stack, primary_role: Protected, outages: Outages, record_measurement: Record
) -> None:
    stream = stack.machine(primary_role.name).attributes["stream"]
    events = [event for event in stack.events(0) if event.stream == stream and event.kind == "recovery-point"]
    points = [Published(int(event.data["cut"]["end_ns"]), event.time_ns) for event in events]
    ages = age_over_time(points, max(point.usable_ns for point in points))
    assert ages, "one recovery point is no curve"
    quiet = undisturbed(ages, min(point.usable_ns for point in points), outages.all)
    assert quiet, f"nothing but {', '.join(outage.what for outage in outages.all)}"
    values = sorted(age for _, age in quiet)
    within = sum(age <= primary_role.rpo_threshold for age in values) / len(values)
    context = f"{primary_role.name}, 95th percentile; {100 * within:.0f} % of the time within the policy"
    if len(quiet) < len(ages):
        context += f"; without the times of: {', '.join(sorted({outage.what for outage in outages.all}))}"
    p95 = values[int(0.95 * (len(values) - 1))]
    record_measurement("rpo-over-time", p95, "s", n=len(values), context=context, samples=ages)
