"""The life of a machine that is replicated from host to host: real orchestrator, providers and libvirt domains."""

from __future__ import annotations

import pytest
from host_world import HostWorld
from test_provider_qemu import REFUSAL

from lab.stacks.errors import OperationRefused
from lab.stacks.machines import MachineState

pytestmark = [
    pytest.mark.qemu,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL)),
]


@pytest.fixture
def hosts(tmp_path):
    hosts = HostWorld(tmp_path)
    try:
        hosts.set_up()
        yield hosts
    finally:
        (tmp_path / "providers.log").write_text(hosts.logs())
        hosts.close()


@pytest.fixture
def protected(hosts):
    hosts.write(hosts.machine)
    hosts.do("enable")
    hosts.wait(MachineState.PROTECTED)
    return hosts


def steps(job):
    return [step.name for step in job.steps if step.state == "done"]


@pytest.mark.requirement(
    "H2S-PFO",
    "H2S-PFO-OFF",
    "H2S-PFO-ZERO",
    "H2S-PFO-PROT",
    "H2S-TFO",
    "H2S-FO-SINGLE",
    "H2S-COMMIT",
    "H2S-FB",
    "H2S-DELTA",
    "H2S-AUTH-CERT",
    "H2S-DATAPATH",
)
def test_planned_failover_there_and_back_loses_nothing(protected):
    hosts = protected
    hosts.write(hosts.machine)
    hosts.cut()
    before = hosts.digests(hosts.replica_disks())
    hosts.do("test-failover")
    assert hosts.names() == {hosts.machine, f"{hosts.machine}-test"}
    hosts.do("cleanup-test-failover")
    assert hosts.names() == {hosts.machine}
    assert hosts.digests(hosts.replica_disks()) == before

    hosts.write(hosts.machine)  # in no cut yet
    job = hosts.do("planned-failover")
    assert (
        steps(job).index("shutdown-source")
        < steps(job).index("final-delta")
        < steps(job).index("start-replica-machine")
    )
    assert hosts.status().state is MachineState.COMMIT_PENDING
    assert not hosts.domain(hosts.machine).isActive()
    assert hosts.domain(hosts.replica).isActive()
    source = hosts.digests(hosts.images)
    assert hosts.digests(hosts.replica_disks()) == source
    assert hosts.digests(hosts.copies(), hosts.replica) == source
    with pytest.raises(OperationRefused) as refused:
        hosts.do("change-recovery-point", recovery_point="latest")
    assert refused.value.reason == "not-supported"

    hosts.write(hosts.replica)
    hosts.do("commit")
    status = hosts.wait(MachineState.PROTECTED_REVERSE)
    assert status.direction == "reverse"
    hosts.cut()
    assert hosts.digests(hosts.images) == hosts.digests(hosts.copies(), hosts.replica)

    hosts.write(hosts.replica)
    hosts.do("failback")
    assert hosts.status().state is MachineState.FAILBACK_COMMIT_PENDING
    assert not hosts.domain(hosts.replica).isActive()
    assert hosts.domain(hosts.machine).isActive()
    assert hosts.digests(hosts.images, hosts.machine) == hosts.digests(hosts.copies())
    hosts.do("commit-failback")
    assert hosts.status().state is MachineState.FAILED_BACK

    hosts.write(hosts.machine)
    hosts.do("reprotect")
    status = hosts.wait(MachineState.PROTECTED)
    assert status.direction == "forward"
    hosts.write(hosts.machine)
    hosts.cut()
    assert hosts.digests(hosts.replica_disks()) == hosts.digests(hosts.images, hosts.machine)
    hosts.do("disable")
    assert hosts.names() == {hosts.machine}
    assert not list((hosts.folder / "hv2").iterdir())
    assert hosts.domain(hosts.machine).listAllCheckpoints() == []


@pytest.mark.requirement("H2S-UFO", "H2S-UFO-UNPROT", "H2S-RR", "H2S-RR-STATE", "LAB-FENCE")
def test_after_an_unplanned_failover_nothing_is_protected_until_reverse_replication(protected):
    hosts = protected
    hosts.write(hosts.machine)
    hosts.cut()
    kept = hosts.digests(hosts.replica_disks())
    hosts.write(hosts.machine)  # lost with the host
    hosts.kill("hv1")
    hosts.do("failover")
    assert hosts.digests(hosts.copies(), hosts.replica) == kept
    hosts.do("commit")
    status = hosts.status()
    assert status.state is MachineState.FAILED_OVER
    assert status.recovery_points == 0
    hosts.write(hosts.replica)

    hosts.start("hv1")  # the old primary is back, and so is its machine, which nobody has told
    assert hosts.domain(hosts.machine).isActive()
    hosts.do("reprotect")
    status = hosts.wait(MachineState.PROTECTED_REVERSE)
    assert (status.direction, status.health.status) == ("reverse", "healthy"), status.health
    assert not hosts.domain(hosts.machine).isActive()
    assert hosts.domain(hosts.replica).isActive()
    hosts.write(hosts.replica)
    hosts.cut()
    assert hosts.digests(hosts.images) == hosts.digests(hosts.copies(), hosts.replica)


@pytest.mark.parametrize("operation", ["push-install"])
def test_nothing_is_ever_installed_in_the_machine(hosts, operation):
    with pytest.raises(OperationRefused) as refused:
        hosts.do(operation)
    assert refused.value.reason == "not-supported"
