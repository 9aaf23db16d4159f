"""Which suites run in which order, and why one cannot run on a topology."""

from pathlib import Path

import pytest

from fixtures.needs import NEEDS, pausing_plan, public_address, second_process_server, why_not
from fixtures.options import ORDER, lacks_of, not_meant, refuse_unknown_subjects, without_servers
from lab.stacks.abilities import Ability
from lab.topology.load import load_topology

ROOT = Path(__file__).parents[1]
EMBEDDED = (ROOT / "topologies" / "embedded.yaml").read_text()
GROUP = (ROOT / "topologies" / "group.yaml").read_text()


class Item:
    """As much of a test as ``why_not`` looks at."""

    def __init__(self, *marks: str) -> None:
        self._marks = marks

    def iter_markers(self, name: str) -> list[pytest.Mark]:
        return [pytest.mark.needs("vmm-server").mark] if name == "needs" and name in self._marks else []

    def get_closest_marker(self, name: str) -> object | None:
        return name if name in self._marks else None


@pytest.fixture
def edited(tmp_path: Path):
    def load(old: str = "", new: str = "", text: str = GROUP):
        assert old in text
        path = tmp_path / "lab.yaml"
        path.write_text(text.replace(old, new, 1))
        return load_topology(path)

    return load


def test_every_suite_has_its_place() -> None:
    folders = {path.parent.name for path in (ROOT / "suites").glob("*/test_*.py")}
    assert folders <= set(ORDER)
    assert ORDER.index("recovery_plans") == ORDER.index("test_failover") + 1


def test_a_role_that_is_missing_is_named(edited) -> None:
    assert "vmm-server" in (why_not(Item("needs"), edited(), {}) or "")


def test_a_plan_that_pauses_is_needed(edited) -> None:
    assert pausing_plan(edited()) == "shop"
    assert why_not(Item("needs_plan"), edited(), {}) is None
    without = edited("            - {manual: Look whether the orders are complete.}\n")
    assert "manual action" in (why_not(Item("needs_plan"), without, {}) or "")
    assert why_not(Item(), without, {}) is None
    one_group = edited("        - machines: [app2]\n")
    assert pausing_plan(one_group) is None


def test_suites_of_vmware_are_for_its_scenarios(edited) -> None:
    vmware = load_topology(ROOT / "topologies" / "vmware-to-secondary.yaml")
    assert why_not(Item("needs_esxi"), vmware, {}) is None
    assert why_not(Item("needs_esxi"), edited(), {}) == "the scenario protects no VMware machines"
    assert why_not(Item("needs_physical"), vmware, {}) == "the scenario protects no physical machines"
    assert why_not(Item("needs_physical"), edited(), {}) is None


def test_members_of_a_consistent_group_act_as_one(edited) -> None:
    assert why_not(Item("needs_group"), edited(), {}) is None
    assert "act as one" in (why_not(Item("needs_lone"), edited(), {}) or "")
    assert "multi-VM consistency" in (why_not(Item("needs_group"), edited(text=EMBEDDED), {}) or "")
    assert why_not(Item("needs_lone"), edited(text=EMBEDDED), {}) is None


def test_a_second_process_server_is_one_that_nobody_uses_yet(edited) -> None:
    marked = Item("needs_second_process_server")
    assert second_process_server(edited()) == "ps2"
    assert why_not(marked, edited(), {}) is None
    assert "second process server" in (why_not(marked, edited(text=EMBEDDED), {}) or "")
    away = edited("  ps2:\n    site: primary", "  ps2:\n    site: recovery")
    assert second_process_server(away) is None


def test_a_topology_may_name_its_suites(edited) -> None:
    assert not_meant("zero_loss", edited()) is None
    named = edited("stack:\n", "suites: [ports, failover]\nstack:\n")
    assert not_meant("failover", named) is None
    assert "for ports, failover" in (not_meant("zero_loss", named) or "")
    refuse_unknown_subjects(named)
    with pytest.raises(pytest.UsageError, match=r"no suite fail_over, did you mean failover\?"):
        refuse_unknown_subjects(edited("stack:\n", "suites: [fail_over]\nstack:\n"))


def test_between_them_the_topologies_run_every_suite() -> None:
    every = [load_topology(path) for path in (ROOT / "topologies").glob("*.yaml")]
    # One that nothing can make yet runs no suite.
    files = [file for file in every if not any(file.inside_of(name) for name in file.machines)]
    assert {subject for file in files for subject in file.suites or ORDER} == set(ORDER)


AZURE = (ROOT / "topologies" / "physical-to-azure.yaml").read_text()


def test_what_only_one_kind_of_target_can_serve(edited) -> None:
    site, azure = edited(), edited(text=AZURE)
    assert why_not(Item("needs_secondary_site"), site, {}) is None
    assert "no master target" in (why_not(Item("needs_secondary_site"), azure, {}) or "")
    assert why_not(Item("needs_azure"), azure, {}) is None
    assert "no machine is replicated to Azure" in (why_not(Item("needs_azure"), site, {}) or "")


def test_a_way_back_is_needed(edited) -> None:
    there, none = edited(), edited(text=(ROOT / "topologies" / "azure-expressroute.yaml").read_text())
    assert why_not(Item("needs_way_back"), there, {}) is None
    assert "VMware" in (why_not(Item("needs_way_back"), none, {}) or "")


def test_a_public_address_is_a_card_on_the_internet(edited) -> None:
    azure = "        - {network: azure, address: 10.50.0.11}\n"
    with_one = edited(azure, azure + "        - {network: internet, address: 203.0.113.51}\n", AZURE)
    assert why_not(Item("needs_public_address"), with_one, {}) is None
    assert public_address(with_one, "app1") == "203.0.113.51"
    assert "no replica has an address" in (why_not(Item("needs_public_address"), edited(), {}) or "")


def test_the_kind_of_the_route_decides(edited) -> None:
    internet, none = edited(text=AZURE), edited()
    moved = "route: internet\n  vault_address: 203.0.113.10\n  storage_address: 203.0.113.11"
    express = edited(
        moved, "route: expressroute\n  vault_address: 198.51.100.10\n  storage_address: 198.51.100.11", AZURE
    )
    for marker, serves in (("needs_internet_route", internet), ("needs_expressroute", express)):
        refused = [each for each in (internet, express, none) if why_not(Item(marker), each, {})]
        assert refused == [each for each in (internet, express, none) if each is not serves]


def test_what_the_stack_lacks_is_its_own_word_and_comes_first(edited) -> None:
    lacks = {Ability.RECOVERY_POINTS: "it keeps none", Ability.PLANS: "it has no plans"}
    assert why_not(Item("needs_points"), edited(), lacks) == "stack reference: it keeps none"
    assert why_not(Item("needs_points"), edited(), {}) is None
    assert why_not(Item("needs_commit"), edited(), lacks) is None
    assert why_not(Item("needs_plan"), edited(text=EMBEDDED), lacks) == "stack reference: it has no plans"


def test_every_ability_has_a_marker_or_is_a_topologys() -> None:
    assert {need.ability for need in NEEDS.values()} - {None} == set(Ability)


def test_the_reference_stack_lacks_nothing_but_synchronous_writes(edited) -> None:
    assert set(lacks_of(edited())) == {Ability.SYNCHRONOUS}


def test_rules_about_servers_are_no_proof_without_servers() -> None:
    beyond = without_servers()
    assert {"V2S-MT-SECONDARY", "V2S-DELTA", "V2A-PS-CACHE", "V2A-PORT-9443", "V2A-HRL"} <= beyond
    assert not beyond & {"V2A-IR-COPY", "V2A-UFO", "LAB-RPO", "V2S-ESX", "GEN-P2S-OS"}


def test_every_marker_says_what_it_means_and_why_not() -> None:
    assert all(need.meaning and need.reason for need in NEEDS.values())
