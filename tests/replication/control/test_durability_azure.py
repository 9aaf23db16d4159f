"""The configuration server of machines that go to Azure is killed after each of its commits (see ``killing``)."""

from __future__ import annotations

import pytest
from azure_world import STEPS, AzureWorld
from control_stand_ins import soon
from killing import LEAKS, killed_at_every_commit, mortal, operation
from mortal_server import PATIENT, MortalWorld

from lab.replication.configuration_server.states import State
from lab.stacks.machines import MachineState

pytestmark = LEAKS


class MortalAzure(MortalWorld, AzureWorld):
    """The vault lives on; only the configuration server dies."""


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = MortalAzure(tmp_path, PATIENT)
    with mortal(world, monkeypatch):
        world.add_single_server()
        world.configure_azure()
        yield world


TO_THE_OTHER_SIDE = ("failover", "commit")
THE_WAY_BACK = (*TO_THE_OTHER_SIDE, "reprotect")
CASES = {
    # operation: what comes before, where it leads, machines in Azure afterwards
    "enable": ((), State.INITIAL_REPLICATION, set()),
    "test-failover": (("protect",), State.PROTECTED, {"app1-test"}),
    "cleanup-test-failover": (("protect", "test-failover"), State.PROTECTED, set()),
    "disable": (("protect",), State.UNPROTECTED, set()),
    "failover": (("protect",), State.COMMIT_PENDING, {"app1-replica"}),
    "change-recovery-point": (("protect", "failover"), State.COMMIT_PENDING, {"app1-replica"}),
    "commit": (("protect", "failover"), State.FAILED_OVER, {"app1-replica"}),
    "reprotect": (("protect", *TO_THE_OTHER_SIDE), State.REPROTECTING, {"app1-replica"}),
    "failback": (("protect", *THE_WAY_BACK), State.FAILBACK_COMMIT_PENDING, {"app1-replica"}),
    "commit-failback": (("protect", *THE_WAY_BACK, "failback"), State.FAILED_BACK, set()),
}


def protect(world) -> None:
    """Protect the machine, with one more point than the first."""
    world.do("enable")
    world.finish_first_copy()
    world.wait(MachineState.PROTECTED)
    newest = world.upload(content=b"2")
    world.stack.wait_status(
        "app1", lambda _: newest in {point.id for point in world.stack.recovery_points("app1")}, "point", soon()
    )


def prepared(world, operations) -> None:
    for name in operations:
        if name == "protect":
            protect(world)
        else:
            world.do(name)
        if name == "reprotect":
            world.failback_target.answers["copy-barrier"] = lambda _: {"applied": 1}
            world.process_server.answers["drain"] = lambda _: {"last_sequence": 1}
            world.finish_copy(world.failback_target)
            world.wait(State.PROTECTED_REVERSE)


@pytest.mark.parametrize("name", CASES)
def test_an_operation_is_done_in_the_end_wherever_it_was_cut_off(world, name):
    before, reached, machines = CASES[name]
    world.set_up(*STEPS)
    prepared(world, before)
    older = min((point.id for point in world.stack.recovery_points("app1")), default=None)
    arguments = {"recovery_point": older} if name == "change-recovery-point" else {}
    assert killed_at_every_commit(world, operation(world, name, {reached}, **arguments)) > 4
    assert {machine.name for machine in world.cloud.machines()} == machines
    if name == "change-recovery-point":
        assert world.content("app1-replica") == b"1"
    if name == "failover":
        assert world.content("app1-replica") == b"2"
    if name in ("disable", "commit-failback"):
        assert world.storage._now.blobs == {}, "the replica in Azure is gone"
    if name == "commit":
        assert not world.stack.recovery_points("app1")


def test_every_step_of_the_set_up_is_done_in_the_end(world):
    def attempt() -> bool:
        done = world.stack.call("GET", "/v1/vault")["setup"]
        world.set_up(*(step for step in STEPS if step not in done))
        return True

    killed_at_every_commit(world, attempt)
    assert list(world.stack.call("GET", "/v1/vault")["setup"]) == list(STEPS)
