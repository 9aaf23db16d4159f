"""What a provider reads from its host: deltas of what changed, kept in files, with an unbroken record of changes."""

from __future__ import annotations

import pytest
from provider_machine import BLOCK, World
from test_provider_crashes import Host, kinds, play, send_now

from lab.replication.mobility.session import STEADY
from lab.replication.provider.replication import HostReplication


@pytest.fixture
def host(tmp_path, monkeypatch):
    """The first copy and its point have arrived."""
    monkeypatch.setattr(HostReplication, "_send_something_now", send_now, raising=False)
    made = Host(tmp_path, World())
    play(made, [("write", 0, 1, 5), ("send",), ("send",)])
    assert made.provider().session.phase == STEADY
    return made


@pytest.mark.requirement("H2S-DELTA", "H2A-DELTA")
def test_a_delta_of_a_host_has_what_changed_and_no_more(host):
    host.machine.write(1, 2 * BLOCK, b"n" * (2 * BLOCK))
    play(host, [("cut",)])
    assert host.provider()._record.queue().oldest().raw_bytes == 2 * BLOCK
    play(host, [("send",)])
    assert host.replica.points[-1] == {index: bytes(content) for index, content in host.machine.content.items()}


@pytest.mark.requirement("H2S-HRL", "H2A-HRL", "LAB-RECOVERY")
def test_changes_of_a_host_wait_in_files_until_the_other_side_has_them(host, tmp_path, monkeypatch):
    play(host, [("write", 0, 2, 9), ("write", 1, 2, 9), ("cut",)])
    kept = sorted(tmp_path.glob("*.hrl"))
    assert len(kept) == 2, "one for each disk"
    with monkeypatch.context() as away:
        away.setattr(host.replica, "put", lambda *_: (_ for _ in ()).throw(ConnectionError("away")))
        with pytest.raises(ConnectionError):
            play(host, [("send",)])
    assert sorted(tmp_path.glob("*.hrl")) == kept
    play(host, [("send",)])
    assert host.replica.points[-1] == {index: bytes(content) for index, content in host.machine.content.items()}


@pytest.mark.requirement("H2A-TRACK", "H2S-DELTA")
def test_the_record_of_changes_goes_on_from_cut_to_cut(host):
    for value in (1, 2, 3):
        play(host, [("write", 0, value, value), ("cut",), ("send",)])
    assert "resynchronisation-required" not in kinds(host)
    assert host.replica.points[-1] == {index: bytes(content) for index, content in host.machine.content.items()}
