"""A stream that is opened anew while documents come in loses none of those that were acknowledged."""

from __future__ import annotations

import threading

import pytest

from lab.replication.common.inbox import Inbox, Sealed


def admit(inbox: Inbox, sequence: int) -> bool:
    part = inbox.part()
    part.write_bytes(b"document")
    return inbox.admit(part, sequence)


def test_whoever_takes_over_knows_every_acknowledged_document(tmp_path):
    acknowledged = 0
    current = Inbox(tmp_path, lambda: None)
    for _ in range(60):
        old = current
        begun = threading.Event()

        def receive(inbox: Inbox = old, begun: threading.Event = begun) -> None:
            nonlocal acknowledged
            try:
                while True:
                    admit(inbox, acknowledged + 1)
                    acknowledged += 1
                    begun.set()
            except (Sealed, FileNotFoundError):
                return  # the sender hears that it has to ask again, or loses its connection

        thread = threading.Thread(target=receive, daemon=True)
        thread.start()
        assert begun.wait(10)
        old.retire()
        current = Inbox(tmp_path, lambda: None)
        thread.join(10)
        assert current.received == acknowledged


def test_a_retired_inbox_still_knows_what_it_had(tmp_path):
    inbox = Inbox(tmp_path, lambda: None)
    assert admit(inbox, 1)
    inbox.retire()
    assert not admit(inbox, 1), "a repeat is no new document"
    with pytest.raises(Sealed):
        admit(inbox, 2)
    assert Inbox(tmp_path, lambda: None).received == 1
