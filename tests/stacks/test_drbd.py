"""What DRBD says is read rightly; what it cannot do is refused; the topology decides its configuration."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab.errors import BadInput, LabError
from lab.stacks.abilities import Ability
from lab.stacks.drbd import journal
from lab.stacks.drbd.adapter import ADAPTER
from lab.stacks.drbd.operations import Operations
from lab.stacks.drbd.resource import resources
from lab.stacks.drbd.stack import DrbdStack, status_of
from lab.stacks.drbd.status import Pair, Side, parse, state_of
from lab.stacks.errors import NotFound, OperationRefused, StackError
from lab.stacks.jobs import JobFailed
from lab.stacks.machines import MachineState, Operation
from lab.topology.load import load_topology
from lab.waiting import Deadline

TOPOLOGIES = Path(__file__).parents[2] / "topologies"
VERSION = "version: 8.4.11 (api:1/proto:86-101)\nsrcversion: F73C670A7EC572DB9CF3E5B \n"
COPYING = (
    VERSION + " 0: cs:SyncSource ro:Primary/Secondary ds:UpToDate/Inconsistent C r-----\n"
    "    ns:713 nr:0 dw:1 dr:719 al:9 bm:0 lo:3 pe:1 ua:3 ap:2 ep:1 wo:f oos:261504\n"
    "\t[>....................] sync'ed:  3.1% (261504/262144)K\n"
)


def side(
    connection: str = "Connected", role: str = "Primary", peer: str = "UpToDate", oos: int = 0, pe: int = 0
) -> Side:
    return Side(connection, role, "UpToDate", peer, oos, pe)


SECONDARY = side(role="Secondary")


def test_the_kernels_status_is_read() -> None:
    assert parse(COPYING) == Side("SyncSource", "Primary", "UpToDate", "Inconsistent", 261504 << 10, 3)
    assert parse(VERSION) is None


def test_each_of_several_disks_has_its_own_state() -> None:
    second = COPYING.removeprefix(VERSION).replace(" 0:", "12:").replace("oos:261504", "oos:8").replace("pe:1", "pe:0")
    both = COPYING + second
    first, other = parse(both, 0), parse(both, 12)
    assert first == parse(COPYING)
    assert other is not None
    assert (other.out_of_sync, other.pending) == (8 << 10, 2)
    assert parse(both, 2) is None


@pytest.mark.parametrize("text", ["", "version: 9.1.4 (api:2/proto:110-121)\n 0: cs:Connected"])
def test_another_version_is_an_error(text: str) -> None:
    with pytest.raises(StackError, match=r"not DRBD 8\.4"):
        parse(text)


@pytest.mark.parametrize(
    ("source", "standby", "state"),
    [
        (None, None, MachineState.UNPROTECTED),
        (side("SyncSource", peer="Inconsistent"), SECONDARY, MachineState.INITIAL_REPLICATION),
        (side(), SECONDARY, MachineState.PROTECTED),
        (side("WFConnection", peer="DUnknown"), side("WFConnection", "Secondary"), MachineState.PROTECTED),
        (None, side("WFConnection", "Secondary"), MachineState.PROTECTED),
        (None, side("WFConnection", peer="DUnknown"), MachineState.FAILED_OVER),
        (side("SyncTarget", "Secondary"), side("SyncSource", peer="Inconsistent"), MachineState.REPROTECTING),
        (SECONDARY, side(), MachineState.PROTECTED_REVERSE),
    ],
)
def test_two_views_give_one_state(source: Side | None, standby: Side | None, state: MachineState) -> None:
    assert state_of(Pair(source, standby)) is state


def test_the_replica_is_behind_until_both_sides_have_answered() -> None:
    def behind(active: Side) -> int | None:
        return status_of("app1", Pair(active, SECONDARY), None).behind_bytes

    assert behind(side()) == 0
    assert behind(side(pe=1)) == 1
    assert behind(side("WFConnection", peer="DUnknown", oos=4096)) == 4096
    assert behind(side("WFConnection", peer="DUnknown")) == 1, "nobody knows that the replica is whole"
    assert behind(SECONDARY) is None


@pytest.mark.parametrize(
    ("active", "health"),
    [
        (side(), "healthy"),
        (side("SyncSource", peer="Inconsistent"), "warning"),
        (side("WFConnection", peer="DUnknown"), "critical"),
        (SECONDARY, "critical"),
    ],
)
def test_health_says_whether_the_replica_follows(active: Side, health: str) -> None:
    assert status_of("app1", Pair(active, SECONDARY), None).health.status == health


def test_the_first_resynchronisation_is_the_initial_replication() -> None:
    messages = [
        "drbd app1: conn( Unconnected -> WFConnection ) ",
        "block drbd0: Began resync as SyncTarget (will sync 262144 KB [65536 bits set]).",
        "block drbd0: Resync done (total 127 sec; paused 0 sec; 2064 K/sec)",
        "block drbd0: Began resync as SyncTarget (will sync 16 KB [4 bits set]).",
    ]
    arrived = {"__REALTIME_TIMESTAMP": "5000", "__MONOTONIC_TIMESTAMP": "900"}
    lines = [
        json.dumps({"MESSAGE": text, "_SOURCE_MONOTONIC_TIMESTAMP": str(100 * n), **arrived})
        for n, text in enumerate(messages)
    ]
    found = list(journal.events(lines, "app1", "app1"))
    assert [event.kind for event in found] == [
        "initial-replication-started", "initial-replication-complete", "resynchronisation-started",
    ]  # fmt: skip
    assert (found[0].data["bytes"], found[2].id) == (262144 << 10, 3)
    assert [event.time_ns for event in found] == [4_200_000, 4_300_000, 4_400_000], "said, not taken down"


def test_the_configuration_names_both_machines_and_hides_nothing_but_the_secret() -> None:
    (resource,) = resources(load_topology(TOPOLOGIES / "drbd.yaml")).values()
    text = resource.text("s3cret.of-the_lab")
    for expected in ("resource app1 {", "protocol C;", "address 10.30.0.11:7788;", "address 10.30.0.21:7788;"):
        assert expected in text
    assert text.count("s3cret.of-the_lab") == 1
    assert text.count("/dev/disk/by-id/virtio-data;") == 2
    assert "s3cret" not in repr(resource)


def test_topologies_that_drbd_cannot_serve_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="protect_to_peer"):
        ADAPTER.lacks(load_topology(TOPOLOGIES / "embedded.yaml"))
    text = (TOPOLOGIES / "drbd.yaml").read_text()
    path = tmp_path / "lab.yaml"
    path.write_text(text.replace(", filesystem: ext4, mount: /data", ""))
    with pytest.raises(BadInput, match="app1 needs exactly one data disk, with 'filesystem' and 'mount'"):
        ADAPTER.lacks(load_topology(path))


def test_it_lacks_all_but_what_a_mirror_is_for() -> None:
    said = ADAPTER.lacks(load_topology(TOPOLOGIES / "drbd.yaml"))
    assert set(Ability) - set(said) == {Ability.SYNCHRONOUS}
    assert all(said.values())


class Node:
    """One machine as ``Operations`` uses it; commands only change what it says of itself."""

    def __init__(self, name: str, seen: Side | None, *, fails: str = "") -> None:
        self.machine = SimpleNamespace(name=name, power_on=lambda: None, wait_ready=lambda _: None)
        self.seen, self.fails, self.done = seen, fails, list[str]()

    def side(self) -> Side | None:
        return self.seen

    def drbdadm(self, *arguments: str) -> None:
        self.act(" ".join(arguments))

    def act(self, what: str) -> None:
        if what == self.fails:
            raise LabError(f"{what} did not work")
        self.done.append(what)

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.act(name)


def a_stack(source: Node, standby: Node) -> DrbdStack:
    return DrbdStack({"app1": Operations(source, standby)})  # type: ignore[arg-type]  # as much of a machine as it uses


def test_a_failover_promotes_the_standby_once_the_source_is_gone() -> None:
    source, standby = Node("app1", None), Node("standby1", side("WFConnection", "Secondary", "DUnknown"))
    with a_stack(source, standby) as stack:
        job = stack.run("app1", Operation.FAILOVER, Deadline.after(10), {"recovery_point": "latest"})
        assert [step.name for step in job.steps] == ["wait-source-gone", "promote-standby", "mount"]
        assert stack.job(job.id) == job
    assert standby.done == ["primary", "mount"]
    assert source.done == []


def test_a_job_that_runs_is_the_state_and_one_that_failed_ends_the_waiting() -> None:
    standby = Node("standby1", None)
    source = Node("app1", None, fails="create-md --force")
    began, go_on = threading.Event(), threading.Event()

    def act(what: str) -> None:
        began.set()
        assert go_on.wait(10)
        raise LabError(f"{what} did not work")

    source.act = act  # type: ignore[method-assign]
    with a_stack(source, standby) as stack:
        stack.start("app1", Operation.ENABLE)
        assert began.wait(10)
        assert stack.machine("app1").state is MachineState.ENABLING, "who looks right after the start waits for the end"
        assert stack.machine("app1").allowed == ()
        go_on.set()
        with pytest.raises(JobFailed, match="make-metadata: create-md --force did not work"):
            stack.wait_state("app1", MachineState.PROTECTED, deadline=Deadline.after(10))
        assert stack.machine("app1").state is MachineState.UNPROTECTED


def test_the_end_wipes_the_metadata_of_both_in_the_way_that_drbdadm_takes() -> None:
    source, standby = Node("app1", side()), Node("standby1", SECONDARY)
    with a_stack(source, standby) as stack:
        stack.run("app1", Operation.DISABLE, Deadline.after(10))
    assert source.done == ["unmount", "down", "-- --force wipe-md"]
    assert standby.done == ["down", "-- --force wipe-md"]


def test_a_step_that_fails_ends_its_job_and_is_named() -> None:
    standby = Node("standby1", side("WFConnection", "Secondary", "DUnknown"), fails="primary")
    with a_stack(Node("app1", None), standby) as stack, pytest.raises(JobFailed, match="promote-standby: primary did"):
        stack.run("app1", Operation.FAILOVER, Deadline.after(10))
    assert standby.done == []


def test_an_old_primary_that_is_turned_down_comes_back_without_its_own_writes() -> None:
    source, standby = Node("app1", side("StandAlone", "Secondary", "DUnknown")), Node("standby1", side("StandAlone"))
    operations = a_stack(source, standby)._pairs["app1"]
    steps = dict(operations.steps(Operation.REPROTECT))

    def connect(*arguments: str) -> None:
        source.done.append(" ".join(arguments))
        source.seen = side("SyncTarget", "Secondary")

    source.drbdadm = connect  # type: ignore[method-assign]
    steps["connect-and-discard-old-writes"]()
    assert source.done == ["load", "connect --discard-my-data"]
    assert standby.done == ["connect"]


@pytest.mark.parametrize(
    ("operation", "arguments", "reason"),
    [
        (Operation.TEST_FAILOVER, {}, "not-supported"),
        (Operation.COMMIT, {}, "not-supported"),
        (Operation.FAILOVER, {"recovery_point": "latest-processed"}, "not-supported"),
        (Operation.ENABLE, {}, "operation-refused"),
        (Operation.FAILBACK, {}, "operation-refused"),
    ],
)
def test_what_it_cannot_do_is_refused_and_changes_nothing(operation: Operation, arguments, reason: str) -> None:
    source, standby = Node("app1", side()), Node("standby1", SECONDARY)
    with a_stack(source, standby) as stack, pytest.raises(OperationRefused) as refusal:
        stack.start("app1", operation, arguments)
    assert (refusal.value.reason, refusal.value.state) == (reason, MachineState.PROTECTED)
    assert refusal.value.allowed == (Operation.FAILOVER, Operation.DISABLE)
    assert (source.done, standby.done) == ([], [])


def test_points_plans_and_groups_refuse_instead_of_being_empty() -> None:
    with a_stack(Node("app1", side()), Node("standby1", SECONDARY)) as stack:
        for ask in (
            lambda: stack.recovery_points("app1"),
            lambda: stack.cut_now("app1", Deadline.after(1)),
            lambda: stack.plan("shop"),
            lambda: stack.groups.get("shop"),
            lambda: stack.policy("standard"),
            lambda: stack.protect("app1", {"policy": "other"}),
        ):
            with pytest.raises(OperationRefused, match="not supported"):
                ask()
        with pytest.raises(NotFound, match="mirrors no machine app2; there are: app1"):
            stack.machine("app2")
