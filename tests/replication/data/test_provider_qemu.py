"""The provider on a real libvirt domain: two qcow2 disks, checkpoints, pull-mode backups, a receiver."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from libvirt_here import checkpoint_refusal
from provider_host import MIB, SOURCE, TARGET, Pair

from lab.replication.support.facts import facts_of_this_machine
from lab.waiting import Deadline, wait_until

REFUSAL = checkpoint_refusal(["qemu-nbd"])
pytestmark = [
    pytest.mark.qemu,
    pytest.mark.timeout(600),
    pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL)),
]


@pytest.fixture
def pair(authority, control):
    # Not tmp_path: QEMU's user has to be able to enter the folder.
    folder = Path(tempfile.mkdtemp(prefix="provider-", dir="/var/tmp"))
    folder.chmod(0o711)
    pair = Pair(folder, authority, control)
    try:
        pair.start(SOURCE, TARGET)
        yield pair
    finally:
        pair.close()


@pytest.fixture
def replicating(pair):
    pair.write(0, 0, 2 * MIB)
    pair.write(1, 5 * MIB, MIB)
    pair.replicate()
    pair.control.wait_event("initial-replication-complete")
    pair.control.wait_event("recovery-point")
    return pair


@pytest.mark.requirement("H2S-HRL", "H2A-HRL", "H2A-TRACK", "LAB-RECOVERY")
def test_changes_arrive_also_when_the_provider_is_killed_in_the_middle_of_a_delta(replicating):
    pair = replicating
    pair.compare()
    pair.scribble()
    pair.cut_and_compare()
    logs = pair.folder / "images"
    for attempt in range(2):
        for disk in (0, 1):
            pair.write(disk, attempt * MIB, 10 * MIB)
        # The order outlives the provider: it is delivered again after the restart.
        pair.control.expect(SOURCE, "cut", stream=pair.stream)
        wait_until(lambda: any(p.stat().st_size for p in logs.glob("*.hrl")), Deadline.after(30), "a log", every=0.002)
        pair.kill(SOURCE)
        pair.scribble()
        pair.start(SOURCE)
        pair.cut_and_compare()
    assert not pair.control.of("resynchronisation-required")
    assert len(pair.domain.listAllCheckpoints()) == 1
    wait_until(lambda: not list(logs.glob("*.hrl")), Deadline.after(10), "logs that are gone")


@pytest.mark.requirement("LAB-RESYNC")
def test_a_bitmap_that_a_crash_of_the_host_has_lost_is_resynchronised(replicating):
    pair = replicating
    pair.scribble()
    pair.kill_qemu()
    pair.start_machine()
    pair.scribble(3)
    refused = pair.control.order(SOURCE, "cut", stream=pair.stream)
    assert refused["error"]["type"] == "resynchronisation-required"
    assert pair.control.wait_event("resynchronisation-required")[0]["data"]["cause"] == "tracking-lost"
    pair.control.wait_event("resynchronisation-complete")
    pair.cut_and_compare()


def test_bitmaps_survive_an_orderly_end_and_the_last_delta_is_of_a_machine_that_is_off(replicating):
    pair = replicating
    pair.scribble()
    pair.control.value(SOURCE, "power", machine=pair.machine, action="off")
    made = pair.control.value(SOURCE, "drain", stream=pair.stream, final=True)
    assert made["sequence"] == made["last_sequence"]
    pair.compare()
    pair.start_machine()
    pair.scribble()
    pair.cut_and_compare()
    assert not pair.control.of("resynchronisation-required")


def test_a_machine_of_an_older_point_is_made_and_removed_while_replication_goes_on(replicating):
    pair = replicating
    pair.scribble()
    old = pair.cut_and_compare()
    before = [pair.digest(path) for path in pair.replicas]
    pair.scribble()
    pair.cut_and_compare()
    name = f"{pair.machine}-test"
    disks = [{"index": i, "name": n, "serial": n} for i, n in enumerate(("system", "data"))]
    machine = {"guest": name, "machine": pair.machine, "stream": pair.stream, "disks": disks}
    more = {"purpose": "test-failover", "cpus": 1, "memory_mib": 64, "nics": []}
    point = old["recovery_point"]
    pair.control.value(TARGET, "start-machine", **machine, **more, recovery_point=point, paused=True)
    made = pair.control.value(TARGET, "describe-machine", machine=name)
    assert (made["state"], made["architecture"], made["firmware"]) == ("paused", "x86_64", "bios")
    assert pair.control.value(TARGET, "describe-host") == {"system": facts_of_this_machine().to_json()}
    copies = sorted((pair.folder / "replicas").glob("*-copy.qcow2"))
    assert sorted(pair.digest(path) for path in copies) == sorted(before)
    refused = pair.control.order(TARGET, "remove-machine", **{**machine, "guest": pair.machine})
    assert refused["error"]["type"] == "not-ours"
    for _ in range(2):
        pair.control.value(TARGET, "remove-machine", **machine)
    assert pair.control.value(TARGET, "describe-machine", machine=name)["state"] == "missing"
    assert not list((pair.folder / "replicas").glob("*-copy.qcow2"))
    pair.cut_and_compare()


@pytest.mark.requirement("H2S-AUTH-CERT", "LAB-MUTUAL-TLS", "LAB-FENCE")
def test_only_the_host_that_owns_the_stream_may_send_and_a_sealed_stream_takes_nothing(replicating):
    pair = replicating
    from lab.replication.common.config import Endpoint
    from lab.replication.common.link import Link
    from lab.replication.common.tls import client_context

    for kind, name in (("provider", "hv3"), ("mobility", "hv1"), ("process-server", "hv1")):
        identity = pair.authority.issue(pair.folder / f"id-{kind}-{name}", kind, name)
        link = Link(Endpoint("127.0.0.1", pair.port), client_context(identity), timeout=20)
        assert link.call("PUT", f"/v1/streams/{pair.stream}/2", {}).status == 403
        link.close()
    pair.control.value(TARGET, "seal-stream", stream=pair.stream)
    before = [pair.digest(path) for path in pair.replicas]
    pair.write(0, 0, MIB)
    pair.control.value(SOURCE, "cut", stream=pair.stream)
    late = pair.control.order(SOURCE, "drain", stream=pair.stream, timeout_s=3)
    assert late["error"]["type"] == "drain-timeout"
    assert [pair.digest(path) for path in pair.replicas] == before


def test_a_stopped_replication_leaves_no_checkpoint_and_no_file(replicating):
    pair = replicating
    pair.control.value(SOURCE, "stop-replication", stream=pair.stream)
    assert pair.domain.listAllCheckpoints() == []
    assert sorted(p.name for p in (pair.folder / "images").iterdir()) == ["data.qcow2", "system.qcow2"]
    pair.control.value(TARGET, "close-stream", stream=pair.stream)
    pair.control.value(
        TARGET, "delete-replica-disks", machine=pair.machine, disks=[{"name": "system"}, {"name": "data"}]
    )
    assert not list((pair.folder / "replicas").iterdir())
