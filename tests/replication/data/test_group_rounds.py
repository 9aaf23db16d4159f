"""Rounds of replication groups over real TLS on loopback, with capture stand-ins that keep time."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from certificates import Authority
from hypothesis import given
from hypothesis import strategies as st
from stack import free_port

from lab.bench.groups import hold_ms
from lab.defects.patience import patience
from lab.replication.common.control import CommandFailed
from lab.replication.common.tls import client_context, server_context
from lab.replication.mobility.capture import Cut
from lab.replication.mobility.group import member as member_module
from lab.replication.mobility.group.channel import Channel, ChannelBroken
from lab.replication.mobility.group.coordinator import Coordinator
from lab.replication.mobility.group.member import GroupServer, Meeting
from lab.replication.mobility.group.order import MOST_STALL_BOUND_S, GroupOrder, Member
from lab.replication.mobility.group.round import Outcome, Part, conclude
from lab.waiting import Deadline

BOUND_S = min(1.5 * patience(), MOST_STALL_BOUND_S)
"""A round keeps this on a busy computer too; real groups have less."""
SOON_S = 5 * patience()


@dataclass
class TimedCutter:
    """Stand-in for a replicator: suspending takes a moment, and when writes were held is written down."""

    suspend_s: float = 0.002
    prepare_s: float = 0.0
    failure: str | None = None
    holds: list[tuple[int, int]] = field(default_factory=list)
    shared: list[str | None] = field(default_factory=list)
    finished: threading.Event = field(default_factory=threading.Event)

    def shared_cut(self, meeting: Meeting, *, application: bool) -> None:
        del application
        self.finished.clear()
        if self.failure:
            raise CommandFailed("not-replicating-yet", self.failure)
        time.sleep(self.prepare_s)
        meeting.ready()
        begin = time.time_ns()
        time.sleep(self.suspend_s)
        end = time.time_ns()
        meeting.held()
        self.holds.append((end, time.time_ns()))
        self.shared.append(meeting.agree(Cut(begin, end, "")))
        self.finished.set()


@dataclass
class Group:
    """Members on addresses of loopback, all on one port as in a real group."""

    folder: Path
    authority: Authority
    cutters: dict[str, TimedCutter]
    order: GroupOrder
    servers: dict[str, GroupServer] = field(default_factory=dict)
    coordinator: Coordinator | None = None

    @classmethod
    def of(cls, folder: Path, authority: Authority, size: int) -> Group:
        members = tuple(Member(f"app{number}", f"127.0.0.{number}") for number in range(1, size + 1))
        order = GroupOrder("shop", "app1", members, free_port(), BOUND_S)
        return cls(folder, authority, {member.name: TimedCutter() for member in members}, order)

    def identity(self, kind: str, name: str, address: str = "127.0.0.1") -> Path:
        return self.authority.issue(self.folder / f"{kind}-{name}", kind, name, (address,))

    def start(self) -> Coordinator:
        for member in self.order.members:
            context = server_context(self.identity("mobility", member.name), require_client=True)
            server = GroupServer(self.order, member.name, context, self.cutters[member.name])
            server.start()
            self.servers[member.name] = server
        context = client_context(self.folder / "mobility-app1")
        self.coordinator = Coordinator(self.order, "app1", context, self.cutters["app1"], lambda _: None)
        return self.coordinator

    def wait(self) -> None:
        for cutter in self.cutters.values():
            assert cutter.failure or cutter.finished.wait(2 * SOON_S)

    def close(self) -> None:
        if self.coordinator is not None:
            self.coordinator.close()
        for server in self.servers.values():
            server.close()


@contextmanager
def conversation(group: Group, identity: Path, address: str, ca: bytes = b"") -> Iterator[Channel]:
    context = client_context(identity)
    context.check_hostname = False
    if ca:
        context.load_verify_locations(cadata=ca.decode())
    channel = Channel.connect(address, group.order.port, context, Deadline.after(SOON_S))
    try:
        yield channel
    finally:
        channel.close()


def ask_to_prepare(group: Group, identity: Path, address: str, ca: bytes = b"") -> None:
    with conversation(group, identity, address, ca) as channel:
        channel.say("prepare", round="x", application=False)
        channel.hear("ready", Deadline.after(SOON_S))


def bring_to_hold(channel: Channel) -> None:
    channel.say("prepare", round="x", application=False)
    channel.hear("ready", Deadline.after(SOON_S))
    channel.say("hold")
    channel.hear("held", Deadline.after(SOON_S))


@pytest.fixture
def group(tmp_path, authority):
    made = Group.of(tmp_path, authority, 3)
    yield made
    made.close()


def test_all_members_are_held_at_one_moment(group):
    coordinator = group.start()
    dice = random.Random(7)
    for _ in range(10):
        for cutter in group.cutters.values():
            cutter.suspend_s, cutter.prepare_s = dice.uniform(0, 0.02), dice.uniform(0, 0.02)
        outcome = coordinator.round()
        group.wait()
        assert outcome.shared, outcome.problems
        holds = [cutter.holds[-1] for cutter in group.cutters.values()]
        assert max(begin for begin, _ in holds) <= min(end for _, end in holds)
        assert {cutter.shared[-1] for cutter in group.cutters.values()} == {outcome.shared}


def test_rounds_have_different_names(group):
    coordinator = group.start()
    names = []
    for _ in range(3):
        names.append(coordinator.round().shared)
        group.wait()
    assert len(set(names)) == 3


def test_a_slow_member_stalls_nobody_beyond_the_bound(group):
    group.cutters["app2"].suspend_s = BOUND_S * 2
    outcome = group.start().round()
    group.wait()
    assert outcome.shared is None
    assert any("app2" in problem for problem in outcome.problems)
    for name in ("app1", "app3"):
        begin, end = group.cutters[name].holds[-1]
        assert (end - begin) / 1e9 < BOUND_S * 1.5, "a margin for a busy machine"
        assert group.cutters[name].shared[-1] is None, "its cut is its own"


def test_slow_preparation_stalls_nobody(group):
    group.cutters["app3"].prepare_s = BOUND_S * 2
    outcome = group.start().round()
    group.wait()
    assert outcome.shared
    assert all((end - begin) / 1e9 < BOUND_S for cutter in group.cutters.values() for begin, end in cutter.holds)


@pytest.mark.parametrize("slow", ["app1", "app2"])
@pytest.mark.parametrize("application", [False, True])
def test_applications_have_the_time_of_their_scripts_to_be_quiet(group, monkeypatch, slow, application):
    monkeypatch.setattr(member_module, "PREPARE_S", 0.3)
    # A computer so busy that whoever waits wakes up late must not find everybody ready by then.
    group.cutters[slow].prepare_s = 0.8 if application else 4.0
    outcome = group.start().round(application=application)
    assert bool(outcome.shared) is application, outcome


def test_an_absent_member_leaves_the_others_their_own_cuts(group):
    coordinator = group.start()
    group.servers.pop("app3").close()
    outcome = coordinator.round()
    assert outcome.shared is None
    assert any(problem.startswith("app3:") for problem in outcome.problems)
    assert group.cutters["app2"].finished.wait(10)
    assert group.cutters["app2"].shared == [None]


def test_a_member_that_is_back_takes_part_again(group):
    coordinator = group.start()
    group.servers.pop("app3").close()
    assert coordinator.round().shared is None
    context = server_context(group.folder / "mobility-app3", require_client=True)
    group.servers["app3"] = GroupServer(group.order, "app3", context, group.cutters["app3"])
    group.servers["app3"].start()
    assert coordinator.round().shared


def test_a_member_that_does_not_replicate_says_why(group):
    group.cutters["app2"].failure = "the disks of this machine are still being copied"
    outcome = group.start().round()
    assert outcome.shared is None
    assert any("still being copied" in problem for problem in outcome.problems), outcome.problems


def test_a_coordinator_that_does_not_replicate_leaves_nobody_waiting(group):
    coordinator = group.start()
    group.cutters["app1"].failure = "still being copied"
    with pytest.raises(CommandFailed, match="still being copied"):
        coordinator.round()
    group.cutters["app1"].failure = None
    assert coordinator.round().shared


@pytest.mark.parametrize(("kind", "name"), [("mobility", "app2"), ("mobility", "stranger"), ("operator", "app1")])
def test_only_the_coordinator_opens_a_conversation(group, kind, name):
    group.start()
    with pytest.raises(ChannelBroken):
        ask_to_prepare(group, group.identity(kind, name), "127.0.0.3")
    assert not group.cutters["app3"].holds


def test_a_machine_without_a_certificate_of_the_stack_is_refused(group, tmp_path):
    group.start()
    stranger = Authority().issue(tmp_path / "other", "mobility", "app1")
    with pytest.raises(ChannelBroken):
        ask_to_prepare(group, stranger, "127.0.0.2", group.authority.pem)
    assert not group.cutters["app2"].holds


def test_a_coordinator_that_vanishes_while_all_are_held_stalls_nobody(group):
    group.start()
    with conversation(group, group.folder / "mobility-app1", "127.0.0.2") as channel:
        bring_to_hold(channel)
    assert group.cutters["app2"].finished.wait(10)
    begin, end = group.cutters["app2"].holds[-1]
    assert (end - begin) / 1e9 < BOUND_S * 1.5
    assert group.cutters["app2"].shared == [None]


def test_a_late_member_believes_in_no_shared_point(group):
    group.start()
    with conversation(group, group.folder / "mobility-app1", "127.0.0.2") as channel:
        bring_to_hold(channel)
        said = channel.hear("cut", Deadline.after(SOON_S))  # "release" was never said
        assert said["in_time"] is False
        channel.say("agreed", shared="shop-1")
        assert group.cutters["app2"].finished.wait(10)
    assert group.cutters["app2"].shared == [None]


def test_certificates_of_the_configuration_server_suffice():
    """Agents are clients everywhere else, so an authority could forget that members of a group are servers."""
    assert hold_ms(3) > 0


NAMES = ("a", "b", "c")


@given(
    parts=st.dictionaries(st.sampled_from(NAMES), st.booleans()),
    problems=st.dictionaries(st.sampled_from(NAMES), st.just("gone")),
)
def test_a_point_is_shared_only_if_everybody_was_in_time(parts, problems):
    given_parts = {name: Part(in_time, 1, 2, 3) for name, in_time in parts.items()}
    outcome = conclude("shop-1", NAMES, given_parts, problems)
    complete = set(parts) == set(NAMES) and all(parts.values()) and not problems
    assert (outcome.shared == "shop-1") is complete
    assert bool(outcome.problems) is not complete
    assert isinstance(outcome, Outcome)
    assert outcome.to_json()["shared"] == outcome.shared


def test_orders_survive_json():
    order = GroupOrder("shop", "app1", (Member("app1", "10.0.0.1"), Member("app2", "10.0.0.2")), 20004, 0.5)
    assert GroupOrder.from_json(order.to_json()) == order


@pytest.mark.parametrize("change", [{"coordinator": "nobody"}, {"stall_bound_s": 0.0}, {"stall_bound_s": 60}])
def test_impossible_orders_are_refused(change):
    order = GroupOrder("shop", "app1", (Member("app1", "10.0.0.1"),))
    with pytest.raises(ValueError, match=r"member|bound"):
        GroupOrder.from_json({**order.to_json(), **change})
