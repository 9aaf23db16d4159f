from __future__ import annotations

import asyncio

import pytest

from lab.replication.configuration_server.commands import CommandQueue
from lab.replication.configuration_server.database import Database
from lab.replication.configuration_server.errors import ComponentUnreachable, JobError, Unknown


@pytest.fixture
def queue(tmp_path):
    database = Database(tmp_path / "control.db")
    yield CommandQueue(database)
    database.close()


def call(queue, **limits):
    limits = {"delivery": 5, "deadline": 5, **limits}
    return asyncio.create_task(queue.call("mobility-app1", "cut", {"stream": "s"}, **limits))


async def test_a_command_is_delivered_again_until_there_is_a_result(queue):
    task = call(queue)
    first = await queue.next("mobility-app1", 5)
    again = await queue.next("mobility-app1", 5)
    assert first == again == {"id": first["id"], "name": "cut", "arguments": {"stream": "s"}}
    queue.finish("mobility-app1", first["id"], {"ok": True, "value": {"sequence": 7}})
    assert await task == {"sequence": 7}
    assert await queue.next("mobility-app1", 0) is None
    queue.finish("mobility-app1", first["id"], {"ok": True})


async def test_commands_come_one_at_a_time_and_in_order(queue):
    tasks = [call(queue), call(queue)]
    await asyncio.sleep(0)
    first = await queue.next("mobility-app1", 5)
    queue.finish("mobility-app1", first["id"], {"ok": True})
    second = await queue.next("mobility-app1", 5)
    assert second["id"] != first["id"]
    queue.finish("mobility-app1", second["id"], {"ok": True})
    assert await asyncio.gather(*tasks) == [{}, {}]


async def test_an_error_of_a_component_has_its_type(queue):
    task = call(queue)
    command = await queue.next("mobility-app1", 5)
    error = {"type": "unknown-stream", "message": "no stream s"}
    queue.finish("mobility-app1", command["id"], {"ok": False, "error": error})
    with pytest.raises(JobError) as failed:
        await task
    assert failed.value.kind == "unknown-stream"


@pytest.mark.parametrize("taken", [False, True])
async def test_a_silent_component_ends_in_an_error_and_an_empty_queue(queue, taken):
    task = call(queue, delivery=0.2, deadline=0.2)
    if taken:
        await queue.next("mobility-app1", 5)
    with pytest.raises(ComponentUnreachable):
        await task
    assert await queue.next("mobility-app1", 0) is None


async def test_a_command_waits_its_turn_at_a_component_that_works_off_others(queue):
    tasks = [call(queue, delivery=0.3) for _ in range(4)]
    await asyncio.sleep(0)
    for _ in tasks:
        command = await queue.next("mobility-app1", 5)
        await asyncio.sleep(0.15)  # the work; the last command is taken long after its 0.3 s
        queue.finish("mobility-app1", command["id"], {"ok": True})
    assert await asyncio.gather(*tasks) == [{}] * 4


async def test_a_newer_poll_ends_the_older_one(queue):
    older = asyncio.create_task(queue.next("mobility-app1", 30))
    await asyncio.sleep(0)
    newer = asyncio.create_task(queue.next("mobility-app1", 30))
    assert await asyncio.wait_for(older, 5) is None
    queue.close()
    assert await asyncio.wait_for(newer, 5) is None


async def test_results_of_others_are_refused(queue):
    task = call(queue)
    command = await queue.next("mobility-app1", 5)
    with pytest.raises(Unknown):
        queue.finish("mobility-app2", command["id"], {"ok": True})
    queue.finish("mobility-app1", command["id"], {"ok": True})
    await task
