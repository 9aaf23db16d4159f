from __future__ import annotations

import signal
import threading
import time

import pytest
from stack import AGENT, MIB, MT, PS, Stack, free_port

from lab.waiting import Deadline, wait_until


@pytest.fixture
def stack(tmp_path, authority, control):
    built = Stack(tmp_path, authority, control)
    yield built
    built.close()


@pytest.fixture
def running(stack):
    stack.create([6 * MIB, 3 * MIB + 512], b"start" * 100_000)
    stack.start(MT, PS, AGENT)
    stack.open_stream()
    return stack


class Scribbler:
    """Writes to the disks all the time, in a thread."""

    def __init__(self, stack):
        self._stack = stack
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _run(self):
        while not self._stop.wait(0.02):
            self._stack.scribble(3)


def finish_and_check(stack, limit=12):
    last = stack.cut()
    stack.wait_point(last)
    points = stack.points()
    assert len({point["sequence"] for point in points}) == len(points)
    for point in points[-limit:]:
        stack.check_point(point)


def test_every_recovery_point_is_the_disks_at_its_cut(running):
    with Scribbler(running):
        running.replicate()
        running.control.wait_event("recovery-point", 3)
        running.cut()
    finish_and_check(running)
    kinds = [event["kind"] for event in running.control.events]
    assert kinds.index("initial-replication-complete") < kinds.index("recovery-point")
    drained = running.control.value(PS, "drain", stream=running.stream)
    assert drained["last_sequence"] >= 4


@pytest.mark.parametrize("victim", [AGENT, PS, MT])
def test_a_killed_service_goes_on_after_its_restart(running, victim):
    with Scribbler(running):
        running.replicate()
        running.control.wait_event("recovery-point", 2)
        running.kill(victim)
        time.sleep(1.5)  # writes go on while it is away
        before = len(running.points())
        running.start(victim)
        running.control.wait_event("recovery-point", before + 3)
    finish_and_check(running)
    assert not running.control.of("resynchronisation-required")


def test_killing_the_agent_in_the_initial_copy_does_no_harm(running):
    with Scribbler(running):
        running.kill(PS)
        running.replicate()
        time.sleep(1)
        running.kill(AGENT)
        running.start(AGENT, PS)
        running.control.wait_event("recovery-point", 2)
    finish_and_check(running)


def test_a_process_server_that_is_away_leaves_a_backlog_that_arrives_later(running):
    running.replicate()
    running.control.wait_event("recovery-point", 1)
    running.kill(PS)
    cuts = []
    for _ in range(4):
        running.scribble()
        cuts.append(running.cut())
    assert len(list(running.directory.glob("spool/app1-stream-1/*.hrl"))) >= 8
    running.start(PS)
    running.wait_point(cuts[-1])
    points = {point["recovery_point"]: point for point in running.points()}
    for cut in cuts:
        running.check_point(points[cut["recovery_point"]])
    wait_until(lambda: not list(running.directory.glob("spool/app1-stream-1/*.hrl")), Deadline.after(10), "empty spool")


def test_a_gap_is_healed_by_comparing_and_old_points_stay(running):
    running.replicate()
    running.scribble()
    running.control.wait_event("recovery-point", 2)
    running.disks.overflow()
    with running.disks.suspended(), running.disks.image(0).open("r+b") as image:
        image.seek(MIB)
        image.write(b"nobody saw this write")
    running.control.wait_event("resynchronisation-required")
    running.control.wait_event("resynchronisation-complete")
    kinds = [event["kind"] for event in running.control.events]
    between = kinds[kinds.index("resynchronisation-required") : kinds.index("resynchronisation-complete")]
    # A point may still be on its way when the gap is found, but none is made after.
    assert between.count("recovery-point") <= 1
    running.scribble()
    finish_and_check(running)


def test_a_full_spool_is_healed_by_comparing(stack):
    stack.settings = {"spool_quota_bytes": 2 * MIB}
    stack.create([4 * MIB])
    stack.start(MT, PS, AGENT)
    stack.open_stream()
    stack.replicate()
    stack.control.wait_event("recovery-point", 1)
    stack.kill(PS)

    def overflows() -> bool:
        stack.disks.write(0, 0, stack.random.randbytes(MIB))
        return bool(stack.control.of("resynchronisation-required"))

    wait_until(overflows, Deadline.after(60), "overflow of the spool", every=0.8)
    assert stack.control.of("resynchronisation-required")[0]["data"]["cause"] == "log-overflow"
    stack.start(PS)
    stack.control.wait_event("resynchronisation-complete")
    finish_and_check(stack)


@pytest.mark.parametrize(("how", "cause"), [(signal.SIGKILL, "forced-shutdown"), (signal.SIGTERM, "machine-restarted")])
def test_changes_of_a_stopped_agent_with_a_broken_record_are_compared(running, how, cause):
    running.replicate()
    running.control.wait_event("recovery-point", 1)
    running.kill(AGENT, how)
    (running.disks.directory / "generation").write_text("another")
    running.start(AGENT)
    assert running.control.wait_event("resynchronisation-required")[-1]["data"]["cause"] == cause
    running.control.wait_event("resynchronisation-complete")
    finish_and_check(running)


def test_rolling_the_replica_itself_fences_the_stream(running):
    running.replicate(interval_s=60)
    points = running.control.wait_event("recovery-point", 1)
    running.scribble()
    running.wait_point(running.cut())
    target = points[0]["data"]
    disks = [{"index": i, "serial": f"replica-{i}"} for i in range(2)]
    for _ in range(2):  # a command may come twice
        running.control.value(MT, "roll", stream=running.stream, recovery_point=target["recovery_point"], disks=disks)
    for index in range(2):
        assert running.replica(index).read_bytes() == running.disks.oracle(target["cut"]["begin_ns"], index)
    running.scribble()
    running.cut()
    time.sleep(1)
    assert running.replica(0).read_bytes() == running.disks.oracle(target["cut"]["begin_ns"], 0)
    result = running.control.order(MT, "roll", stream=running.stream, recovery_point="no-such", disks=disks)
    assert result["error"]["type"] == "unknown-recovery-point"
    running.control.value(MT, "forget-points", stream=running.stream, keep=target["recovery_point"])
    running.control.value(MT, "close-stream", stream=running.stream)
    running.control.value(MT, "close-stream", stream=running.stream)


def test_the_data_port_moves_without_a_new_installation(running):
    running.replicate()
    running.control.wait_event("recovery-point", 1)
    old, new = running.ports[PS], free_port()
    running.ports[PS] = new
    target = {"name": "mt1", "address": "127.0.0.1", "port": running.ports[MT]}
    running.control.value(PS, "open-stream", stream=running.stream, machine="app1", data_port=new, master_target=target)
    with pytest.raises(ConnectionError):
        running.link("mobility", "app1", old).call("GET", f"/v1/streams/{running.stream}")
    running.replicate()
    running.scribble()
    finish_and_check(running)
    assert not running.control.of("resynchronisation-required")


def test_a_closed_stream_is_refused_and_its_cache_is_gone(running):
    running.replicate()
    running.control.wait_event("recovery-point", 1)
    running.control.value(PS, "close-stream", stream=running.stream)
    link = running.link("mobility", "app1", running.ports[PS])
    assert link.call("PUT", f"/v1/streams/{running.stream}/1", {}).status == 403
    assert not list(running.directory.glob("process-server-ps1-state/streams/*"))
    running.control.value(AGENT, "stop-replication", stream=running.stream)


def test_statistics_say_received_then_optimised_then_sent(running):
    running.replicate()
    running.control.wait_event("recovery-point", 2)
    report = running.link("operator", "qa", running.ports[PS]).call("GET", "/v1/statistics").json
    total = report["totals"][running.stream]
    assert 0 < total["wire_bytes"] < total["raw_bytes"]
    for record in report["recent"]:
        assert record["received_ns"] <= record["optimised_ns"] <= record["sent_ns"]
