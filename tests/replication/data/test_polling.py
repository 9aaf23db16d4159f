"""How components ask for commands."""

from __future__ import annotations

import threading

from lab.replication.common.control import POLL_S, serve_commands


def test_the_first_poll_waits_for_nothing_so_that_a_sign_of_life_comes_at_once():
    waits: list[float] = []
    signs: list[int] = []
    stop = threading.Event()

    class Client:
        def next_command(self, wait: float, busy: object) -> None:
            del busy
            waits.append(wait)
            if len(waits) == 3:
                stop.set()

    serve_commands(Client(), {}, stop, lambda: signs.append(len(waits)))
    assert waits == [0.0, POLL_S, POLL_S]
    assert signs == [1, 2, 3]
