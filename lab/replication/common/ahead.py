"""Producing the pieces of a document a little ahead of who sends them: compression and upload at the same time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lab.replication.changeset import Buffer

AHEAD = 8
"""So many pieces of a document may wait, of up to a MiB each."""
LOOK_S = 0.2
END_S = 30.0


@contextmanager
def ahead(pieces: Iterator[Buffer]) -> Iterator[Iterator[Buffer]]:
    """Yield what yields the same pieces, made by a thread of its own that ends with the context.

    What ``pieces`` raises is raised where the pieces are taken.
    """
    waiting: queue.Queue[Buffer | Exception | None] = queue.Queue(AHEAD)
    unwanted = threading.Event()

    def put(item: Buffer | Exception | None) -> bool:
        while not unwanted.is_set():
            try:
                waiting.put(item, timeout=LOOK_S)
            except queue.Full:
                continue
            return True
        return False

    def produce() -> None:
        try:
            for piece in pieces:
                if not put(piece):
                    return
        except Exception as error:  # noqa: BLE001 - it belongs to who takes the pieces
            put(error)
        else:
            put(None)

    thread = threading.Thread(target=produce, name="ahead", daemon=True)
    thread.start()
    try:
        yield _taken(waiting)
    finally:
        unwanted.set()
        thread.join(END_S)


def _taken(waiting: queue.Queue[Buffer | Exception | None]) -> Iterator[Buffer]:
    while True:
        item = waiting.get()
        if item is None:
            return
        if isinstance(item, Exception):
            raise item
        yield item
