"""What arrives is what was there: copies, deltas, points, retention, resynchronisation, restarts."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from data_path import MIB, PS, SOON_S, STREAM, Path3, document, heads, put, settled

from lab.defects.patience import patience
from lab.replication.common.control import CommandFailed
from lab.replication.mobility.session import STEADY
from lab.waiting import Deadline, wait_until

SECOND = 1_000_000_000


@pytest.fixture
def path(tmp_path, authority):
    made = Path3(tmp_path, authority)
    yield made
    made.close()


@pytest.fixture
def running(path):
    """Two small disks, replicated."""
    path.create([2 * MIB, MIB + 512], b"start" * 10_000)
    return path.servers().replicate()


def overlapping_writes(path: Path3, round_number: int) -> None:
    """Overwrite one place in every round, another in every second one, and a third with zeros now and then."""
    content = bytes([round_number + 1]) * 1024
    path.stack.disks.write(0, 8192, content)
    path.stack.disks.write(1, 4096 * (1 + round_number % 2), content)
    path.stack.disks.write(0, 20_000 // 512 * 512, bytes(512) if round_number % 2 else content[:512])
    path.stack.scribble(4)


@pytest.mark.requirement("LAB-WRITE-ORDER", "LAB-POINT-IN-TIME", "V2S-DELTA", "V2A-IR-COPY", "LAB-POINT-ORDER")
def test_every_point_is_the_disks_at_its_cut(running):
    running.busy = lambda: running.stack.disks.write(0, 8192, b"after the cut".ljust(512, b"!"))
    points = [running.heard.of("recovery-point")[0]]
    for number in range(7):
        overlapping_writes(running, number)
        points.append(running.wait_point(running.cut()))
    sequences = [point["sequence"] for point in points]
    assert sequences == sorted(set(sequences))
    for point in points:
        assert running.sound(point), point["sequence"]


@pytest.mark.requirement("LAB-POINT-LABEL")
def test_a_point_says_when_it_was_cut(running):
    before = time.time_ns()
    cut = running.cut()
    after = time.time_ns()
    point = running.wait_point(cut)
    assert before <= point["cut"]["begin_ns"] <= point["cut"]["end_ns"] <= after


@pytest.mark.requirement("V2A-IR-COPY")
def test_the_copy_is_complete_when_the_master_target_has_it(path):
    path.create([MIB], b"x" * 4096)
    path.start_ps()
    path.open_ps()
    path.start_agent()
    inbox = path.ps._streams[STREAM].inbox
    wait_until(lambda: inbox.received, Deadline.after(SOON_S), "copy at the process server", every=0.02)
    settled(0.4)
    assert not path.heard.of("initial-replication-complete"), "the master target is not there yet"
    path.start_mt()
    path.open_mt()
    path.heard.wait("initial-replication-complete", seconds=SOON_S)
    kinds = [kind for kind, _ in path.heard.events]
    path.heard.wait("recovery-point")
    assert "recovery-point" not in kinds[: kinds.index("initial-replication-complete")]


@pytest.mark.requirement("V2A-DELTA-AFTER-IR")
def test_no_delta_leaves_before_the_copy_is_complete(path):
    path.create([MIB], b"x" * 4096)
    path.start_ps()
    path.open_ps()
    agent = path.start_agent()
    inbox = path.ps._streams[STREAM].inbox
    wait_until(lambda: inbox.received, Deadline.after(SOON_S), "copy at the process server", every=0.02)
    for number in range(2):
        path.stack.disks.write(0, 512 * number, b"new" * 100)
        agent._cut_once(application=False)
    settled(0.3)
    assert {head.kind for head in heads(path.ps._path(STREAM) / "cache")} == {"copy"}
    with pytest.raises(CommandFailed):
        agent.cut()
    path.start_mt()
    path.open_mt()
    point = path.heard.wait("recovery-point", seconds=SOON_S)[0]
    assert path.sound(point)


@pytest.mark.requirement("V2S-DELTA", "LAB-THROUGHPUT")
def test_a_delta_has_what_changed_and_no_more(running):
    totals = running.ps._statistics.to_json
    before = totals()["totals"][STREAM]["raw_bytes"]
    running.stack.disks.write(0, 0, b"y" * 4096)
    running.wait_point(running.cut())
    wait_until(lambda: totals()["totals"][STREAM]["raw_bytes"] > before, Deadline.after(SOON_S), "delta", every=0.02)
    assert totals()["totals"][STREAM]["raw_bytes"] - before <= 64 << 10


@pytest.mark.requirement("V2A-HRL", "LAB-RECOVERY")
def test_changes_wait_in_files_while_nobody_takes_them(running):
    running.stop_ps()
    cuts = []
    for number in range(3):
        running.stack.disks.write(0, 512 * number, b"kept" * 128)
        cuts.append(running.cut())
    spool = running.stack.directory / "agent" / STREAM
    settled(0.2)
    assert len(list(spool.glob("*.hrl"))) == 6, "three cuts of two disks"
    running.start_ps()
    points = [running.wait_point(cut) for cut in cuts]
    assert all(running.sound(point) for point in points)
    wait_until(lambda: not list(spool.glob("*.hrl")), Deadline.after(SOON_S), "empty spool", every=0.05)


@pytest.mark.requirement("LAB-RECOVERY")
def test_what_waits_has_a_bound(path):
    path.create([MIB])
    path.servers()
    path.start_agent(quota=64 << 10)
    path.heard.wait("recovery-point")
    path.stop_ps()
    refused = []
    for _ in range(3):
        path.stack.disks.write(0, 0, path.stack.random.randbytes(48 << 10))
        try:
            path.cut()
        except CommandFailed as error:
            refused.append(error)
    assert refused
    assert path.heard.wait("resynchronisation-required")[0]["cause"] == "log-overflow"


@pytest.mark.requirement("V2A-PS-CACHE", "LAB-RECOVERY")
def test_what_was_acknowledged_survives_a_restart(path):
    path.create([MIB])
    path.start_ps()
    path.open_ps()
    link = path.link("mobility", "app1", path.stack.ports[PS])
    for sequence in (1, 2):
        assert put(link, sequence, document(sequence, [(512 * sequence, b"q" * 512)])).status == 201
    path.stop_ps()
    path.start_ps()
    path.start_mt()
    path.open_mt()
    path.heard.wait("recovery-point", 2, seconds=SOON_S)
    assert path.stack.replica(0).read_bytes()[1024:1536] == b"q" * 512


@pytest.mark.requirement("LAB-POINT-ORDER", "LAB-RECOVERY")
def test_a_master_target_goes_on_where_it_was(running):
    running.wait_point(running.cut())
    running.stop_mt()
    running.start_mt()
    running.stack.disks.write(1, 512, b"later" * 100)
    point = running.wait_point(running.cut())
    sequences = [found["sequence"] for found in running.heard.of("recovery-point")]
    assert sequences == sorted(set(sequences))
    assert running.sound(point)


@pytest.mark.requirement("LAB-RECOVERY", "LAB-RESYNC")
def test_a_restart_of_the_machine_is_followed_by_a_comparison(running):
    running.wait_point(running.cut())
    running.stop_agent()
    (running.stack.disks.directory / "generation").write_text("another boot")
    with running.stack.disks.image(0).open("r+b") as image:
        image.seek(MIB)
        image.write(b"written while nobody looked")
    running.start_agent(replace(running.session.value))
    running.heard.wait("resynchronisation-required")
    running.heard.wait("resynchronisation-complete")
    assert running.sound(running.wait_point(running.cut()))


@pytest.mark.requirement("LAB-RESYNC")
def test_a_comparison_sends_what_differs_and_only_that(running):
    sent = running.ps._statistics.to_json()["totals"][STREAM]["raw_bytes"]
    chunk = 256 << 10
    for place in (0, 3):
        with running.stack.replica(0).open("r+b") as replica:
            replica.seek(place * chunk + 1024)
            replica.write(b"rotten" * 1000)
    known = len(running.heard.of("resynchronisation-complete"))
    running.agent.resynchronise()
    running.heard.wait("resynchronisation-complete", known + 1)
    assert running.sound(running.wait_point(running.cut()))
    moved = running.ps._statistics.to_json()["totals"][STREAM]["raw_bytes"] - sent
    assert moved <= 2 * chunk + (64 << 10)


@pytest.mark.requirement("V2S-MT-RETENTION", "V2A-POLICY-APPLIES")
def test_points_stay_as_long_as_the_policy_says(path):
    path.create([MIB])
    path.start_mt()
    path.open_mt(retention_s=60)
    link = path.link("process-server", "ps1", path.stack.ports["master-target-mt1"])
    now = int(time.time()) * SECOND
    ages = {1: 200, 2: 100, 3: 50, 4: 5}
    for sequence, age in ages.items():
        put(link, sequence, document(sequence, [(0, bytes([sequence]) * 512)], begin_ns=now - age * SECOND))
    stream = path.mt._streams[STREAM]
    wait_until(lambda: stream.inbox.done == 4, Deadline.after(SOON_S), "four documents", every=0.02)
    wait_until(
        lambda: [point.sequence for point in stream._points.all()] == [3, 4],
        Deadline.after(2 * patience()),
        "pruning",
        every=0.02,
    )


@pytest.mark.requirement("V2A-MVM-APP", "V2A-MVM-CRASH")
def test_a_point_says_what_kind_it_is_and_with_whom_it_is_shared(path):
    path.create([MIB])
    path.start_mt()
    path.open_mt()
    link = path.link("process-server", "ps1", path.stack.ports["master-target-mt1"])
    put(link, 1, document(1, shared="shop-1"))
    put(link, 2, document(2, point_kind="application-consistent"))
    first, second = path.heard.wait("recovery-point", 2)
    assert (first["kind"], first["shared"]) == ("crash-consistent", "shop-1")
    assert (second["kind"], second["shared"]) == ("application-consistent", None)


@pytest.mark.requirement("V2A-FO-COMMIT")
def test_after_a_commit_there_is_one_point(running):
    cuts = [running.wait_point(running.cut()) for _ in range(2)]
    running.mt.handlers()["forget-points"]({"stream": STREAM, "keep": cuts[1]["recovery_point"]})
    running.image(cuts[1])
    with pytest.raises(CommandFailed):
        running.image(cuts[0])


@pytest.mark.requirement("LAB-FENCE", "LAB-ZOMBIE")
def test_disks_that_were_rolled_take_nothing_more(running):
    point = running.wait_point(running.cut())
    disks = [{"index": index, "serial": f"replica-{index}"} for index in range(2)]
    running.stack.disks.write(0, 0, b"old primary" * 40)
    running.hold(hold=True)
    running.cut()
    waiting = running.mt._streams[STREAM].inbox
    wait_until(lambda: waiting.waiting, Deadline.after(SOON_S), "late document", every=0.02)
    running.mt.roll({"stream": STREAM, "recovery_point": point["recovery_point"], "disks": disks})
    running.hold(hold=False)
    running.stack.disks.write(0, 512, b"zombie" * 80)
    running.cut()
    settled(0.5)
    assert [running.stack.replica(index).read_bytes() for index in range(2)] == running.oracle(point)


@pytest.mark.requirement("LAB-TFO-ISOLATION", "LAB-POINT-IN-TIME")
def test_nothing_is_applied_while_disks_are_copied(running):
    running.hold(hold=True)
    before = running.stack.replica(0).read_bytes()
    running.stack.disks.write(0, 0, b"while copying" * 30)
    cut = running.cut()
    inbox = running.mt._streams[STREAM].inbox
    wait_until(lambda: inbox.received >= cut["sequence"], Deadline.after(SOON_S), "document", every=0.02)
    settled(0.3)
    assert running.stack.replica(0).read_bytes() == before
    running.hold(hold=False)
    assert running.sound(running.wait_point(cut))


@pytest.mark.requirement("V2A-UFO", "LAB-RPO")
def test_a_drain_ends_when_all_is_applied(running):
    running.hold(hold=True)
    running.stack.disks.write(0, 0, b"last words" * 40)
    cut = running.cut()
    inbox = running.ps._streams[STREAM].inbox
    wait_until(lambda: inbox.received >= cut["sequence"], Deadline.after(SOON_S), "document", every=0.02)
    with pytest.raises(CommandFailed):
        running.ps.drain({"stream": STREAM, "timeout_s": 0.5})
    running.hold(hold=False)
    running.ps.drain({"stream": STREAM, "timeout_s": SOON_S})
    assert running.mt._streams[STREAM].inbox.done == cut["sequence"]
    assert running.session.value.phase == STEADY
