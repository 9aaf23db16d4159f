"""What both kinds of switches promise."""

from lab.networks.protocol import Switches

Pair = tuple[Switches, Switches]


def test_a_switch_is_made_once(two_labs: Pair) -> None:
    switches, _ = two_labs
    assert switches.leftovers() == []
    switches.ensure("primary")
    before = switches.leftovers()
    assert before != []
    switches.ensure("primary")
    assert switches.leftovers() == before


def test_a_port_is_reserved_once_and_is_its_machines_own(two_labs: Pair) -> None:
    switches, _ = two_labs
    switches.ensure("primary")
    switches.ensure("wan")
    first = switches.wire("primary", "m1")
    assert switches.wire("primary", "m1") == first
    others = {switches.wire("primary", "m2"), switches.wire("wan", "m1"), switches.wire("wan", "m2")}
    assert len(others) == 3
    assert first not in others


def test_removing_leaves_nothing_and_repeats_without_harm(two_labs: Pair) -> None:
    switches, _ = two_labs
    switches.remove_all()
    switches.ensure("primary")
    switches.ensure("wan")
    switches.wire("primary", "m1")
    for _ in range(2):
        switches.remove_all()
        assert switches.leftovers() == []
    switches.ensure("primary")
    switches.wire("primary", "m1")
    assert switches.leftovers() != []


def test_two_labs_with_the_same_names_do_not_meet(two_labs: Pair) -> None:
    mine, other = two_labs
    for switches in two_labs:
        switches.ensure("primary")
    assert mine.wire("primary", "m1") != other.wire("primary", "m1")
    mine.remove_all()
    assert mine.leftovers() == []
    assert other.leftovers() != []
