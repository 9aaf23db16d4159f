"""What waits for news of the vault is woken by it, and by the end: nobody sleeps through either."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from azure_world import AzureWorld

from lab.replication.configuration_server import vault_follower
from lab.replication.configuration_server.errors import JobError
from lab.replication.configuration_server.vault_follower import VaultFollower

LONG_S, SOON_S = 30.0, 20.0
FAR = 1_000_000
"""A number of an event that nobody else asks after."""


@pytest.fixture
def world(tmp_path):
    world = AzureWorld(tmp_path)
    # It waits for events too, and would be taken for the listener of a test.
    world.run(world.server._follower.stop())
    yield world
    world.close()


class Listener:
    """Waits for events of a vault after ``after``; ``looked`` is set once the vault has looked for some.

    ``between`` is called after that look, before the vault waits.
    """

    def __init__(self, world: AzureWorld, after: int, between: Callable[[], None] = lambda: None) -> None:
        self.looked = threading.Event()
        self._after = after
        self._between = between
        self._look = world.vault._ledger.events
        world.vault._ledger.events = self._events
        waiting = world.server._vault.events(after, LONG_S)
        self.answer = asyncio.run_coroutine_threadsafe(waiting, world._loop)

    def _events(self, after: int) -> list[dict]:
        found = self._look(after)
        if after == self._after and not self.looked.is_set():
            self._between()
            self.looked.set()
        return found


def newest(world: AzureWorld) -> int:
    world.vault._ledger.add_event("first", "app1", "s-1", {})
    return world.vault._ledger.events(0)[-1]["id"]


def test_who_waits_for_events_hears_at_once_that_the_vault_ends(world) -> None:
    listener = Listener(world, FAR)
    assert listener.looked.wait(LONG_S)
    begun = time.monotonic()
    world.run(world.vault.close())
    assert listener.answer.result(LONG_S) == []
    assert time.monotonic() - begun < SOON_S


def test_an_event_of_a_thread_wakes_who_waits(world) -> None:
    listener = Listener(world, newest(world))
    assert listener.looked.wait(LONG_S)
    world.vault._ledger.add_event("health", "app1", "s-1", {})
    assert [event["kind"] for event in listener.answer.result(SOON_S)] == ["health"]


def test_an_event_between_the_look_and_the_wait_is_not_missed(world) -> None:
    after = newest(world)
    listener = Listener(world, after, lambda: world.vault._ledger.add_event("health", "app1", "s-1", {}))
    assert [event["kind"] for event in listener.answer.result(SOON_S)] == ["health"]


class AwayVault:
    """Stands in for a vault that does not answer."""

    def __init__(self) -> None:
        self.called = asyncio.Event()

    async def events(self, *_: object) -> list[dict]:
        self.called.set()
        raise JobError("vault-unreachable", "nobody there")


async def test_a_follower_that_pauses_ends_at_once(monkeypatch) -> None:
    monkeypatch.setattr(vault_follower, "PAUSE_S", 3600.0)
    monkeypatch.setattr(vault_follower, "WAIT_S", 3600.0)
    vault = AwayVault()
    deployment = SimpleNamespace(cursor=lambda: 0)
    workshop = SimpleNamespace(machines=SimpleNamespace(all=list))
    follower = VaultFollower(vault, deployment, None, workshop, None)
    follower.start()
    pausing = asyncio.create_task(follower._pause(3600.0))
    await vault.called.wait()
    async with asyncio.timeout(20):
        await follower.stop()
        await pausing
