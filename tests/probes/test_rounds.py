"""Rounds of a replication group over real TLS: one instant for all, and nobody holds for longer than the bound."""

from __future__ import annotations

import random
import socket
from dataclasses import replace

import pytest
from test_group_rounds import BOUND_S, SOON_S, Group, ask_to_prepare, bring_to_hold, conversation

from lab.replication.mobility.group.channel import ChannelBroken
from lab.waiting import Deadline, wait_until

SKEW_IS_SEEN_AFTER_ROUNDS = 6


@pytest.fixture
def group(tmp_path, authority):
    made = Group.of(tmp_path, authority, 3)
    yield made
    made.close()


@pytest.mark.requirement("V2A-MVM-CRASH", "LAB-POINT-IN-TIME", "V2A-PORT-20004")
def test_all_members_are_held_at_one_moment(group):
    group.order = replace(group.order, stall_bound_s=2 * BOUND_S)  # what is asked here is when, not for how long
    coordinator = group.start()
    dice = random.Random(7)
    for _ in range(SKEW_IS_SEEN_AFTER_ROUNDS):
        for cutter in group.cutters.values():
            cutter.suspend_s, cutter.prepare_s = dice.uniform(0, 0.004), dice.uniform(0, 0.01)
        outcome = coordinator.round()
        group.wait()
        assert outcome.shared, outcome.problems
        holds = [cutter.holds[-1] for cutter in group.cutters.values()]
        assert max(begin for begin, _ in holds) <= min(end for _, end in holds)
        assert {cutter.shared[-1] for cutter in group.cutters.values()} == {outcome.shared}


@pytest.mark.requirement("V2A-MVM-CRASH", "LAB-POINT-IN-TIME")
def test_a_member_that_is_late_shares_nothing(group):
    group.cutters["app2"].suspend_s = BOUND_S * 2
    outcome = group.start().round()
    group.wait()
    assert outcome.shared is None
    assert all(cutter.shared[-1] is None for cutter in group.cutters.values())


@pytest.mark.requirement("LAB-RECOVERY", "V2A-MVM-CRASH")
def test_a_silent_coordinator_holds_nobody_beyond_the_bound(group):
    group.start()
    with conversation(group, group.folder / "mobility-app1", "127.0.0.2") as channel:
        bring_to_hold(channel)
        holds = group.cutters["app2"].holds
        wait_until(lambda: holds, Deadline.after(BOUND_S * 4), "end of the hold", every=0.02)
    begin, end = holds[-1]
    assert group.cutters["app2"].finished.wait(SOON_S)
    assert (end - begin) / 1e9 < BOUND_S * 3, "a margin for a busy machine"
    assert group.cutters["app2"].shared[-1] is None


@pytest.mark.requirement("V2A-PORT-20004", "LAB-MUTUAL-TLS")
def test_only_the_coordinator_opens_a_conversation(group):
    group.start()
    for kind, name in (("mobility", "app3"), ("process-server", "ps1")):
        with pytest.raises(ChannelBroken):
            ask_to_prepare(group, group.identity(kind, name), "127.0.0.2")
    assert not group.cutters["app2"].holds


@pytest.mark.requirement("V2A-LEAST", "V2A-PORT-20004")
def test_a_member_listens_where_the_group_finds_it_and_nowhere_else(group):
    group.start()
    socket.create_connection(("127.0.0.2", group.order.port), SOON_S).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.9", group.order.port), SOON_S)
