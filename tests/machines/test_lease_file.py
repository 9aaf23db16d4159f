"""The lease on a machine: who may have it, pure, and over a real login."""

import json
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sshd_server import Server

from lab.machines.lease_file import (
    Lease,
    Leased,
    LeaseFile,
    LeaseLost,
    held,
    marked,
    parse,
    released,
    renewed,
    taken,
)
from lab.machines.ssh import SshTransport

NOW = 1_000_000
LEASES = st.builds(
    Lease,
    st.text(max_size=9),
    st.text("abc", min_size=1, max_size=4),
    st.integers(0, 2 * NOW),
    st.sampled_from(["", "no disk"]),
)


def test_a_free_machine_is_had_and_a_leased_one_is_not() -> None:
    mine = taken(None, "lab-a", NOW, 60, "t1")
    assert mine == Lease("lab-a", "t1", NOW + 60)
    with pytest.raises(Leased, match="lab-a works with this machine for another 1 s"):
        taken(mine, "lab-b", NOW + 59, 60, "t2")
    with pytest.raises(Leased):
        taken(mine, "lab-a", NOW + 59, 60, "t2")
    assert taken(mine, "lab-b", NOW + 60, 60, "t2").owner == "lab-b"


@given(found=LEASES, now=st.integers(0, 2 * NOW), token=st.text("abc", max_size=4))
def test_never_two_holders_and_never_a_broken_machine(found: Lease, now: int, token: str) -> None:
    try:
        taken(found, "new", now, 60, "new-token")
    except Leased:
        assert found.expires > now or found.broken
    else:
        assert found.expires <= now
        assert not found.broken
    for change in (lambda: renewed(found, token, now, 60), lambda: released(found, token), lambda: held(found, token)):
        try:
            change()
        except LeaseLost:
            assert token != found.token
        else:
            assert token == found.token


def test_the_mark_of_a_broken_machine_outlives_its_lease() -> None:
    mine = marked(taken(None, "lab-a", NOW, 60, "t1"), "t1", "boots the old disk")
    left = released(mine, "t1")
    assert left == Lease("lab-a", "", 0, "boots the old disk")
    with pytest.raises(Leased, match="lab-a left this machine broken: boots the old disk"):
        taken(left, "lab-b", NOW + 9999, 60, "t2")
    with pytest.raises(LeaseLost):
        released(left, "")
    with pytest.raises(ValueError, match="needs a reason"):
        marked(mine, "t1", " ")


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", '{"owner": 1, "token": "", "expires": 0}', "{", '{"x": 1}'])
def test_what_is_no_lease_is_not_overwritten(text: str) -> None:
    with pytest.raises(Leased, match="is not a lease"):
        parse(text)


def lease_of(server: Server, folder: Path) -> tuple[LeaseFile, SshTransport]:
    transport = server.transport()
    return LeaseFile(transport, str(folder / "lab" / "lease.json")), transport


def test_a_machine_is_taken_kept_and_given_back(machine: SshTransport, tmp_path: Path) -> None:
    path = tmp_path / "lab" / "lease.json"
    mine, other = (LeaseFile(machine, str(path)) for _ in range(2))
    lease = mine.acquire("lab-a", 60)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(Leased, match="lab-a works with this machine"):
        other.acquire("lab-b", 60)
    with pytest.raises(LeaseLost, match="lab-a has it"):
        other.release()
    assert mine.renew(600).expires >= lease.expires
    mine.release()
    assert sorted(file.name for file in path.parent.iterdir()) == ["lease.json.lock"]
    other.acquire("lab-b", 60)
    with pytest.raises(LeaseLost, match="lab-b has it"):
        mine.renew(60)


def test_a_broken_machine_stays_refused_until_the_mark_is_cleared(machine: SshTransport, tmp_path: Path) -> None:
    path = tmp_path / "lab" / "lease.json"
    mine, other = (LeaseFile(machine, str(path)) for _ in range(2))
    mine.acquire("lab-a", 60)
    mine.mark_broken("its disk is gone")
    with pytest.raises(Leased, match="not cleared"):
        other.clear()
    mine.release()
    with pytest.raises(Leased, match="broken: its disk is gone"):
        other.acquire("lab-b", 60)
    other.clear()
    other.acquire("lab-b", 60)


def test_an_expired_lease_is_taken_over_and_what_is_no_lease_is_left(machine: SshTransport, tmp_path: Path) -> None:
    path = tmp_path / "lab" / "lease.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"owner": "gone", "token": "t", "expires": 1, "broken": ""}))
    assert LeaseFile(machine, str(path)).acquire("lab-b", 60).owner == "lab-b"
    path.write_text("something else")
    with pytest.raises(Leased, match="is not a lease"):
        LeaseFile(machine, str(path)).acquire("lab-b", 60)
    assert path.read_text() == "something else"


def test_of_labs_that_come_together_one_has_the_machine(server: Server, tmp_path: Path) -> None:
    several = [lease_of(server, tmp_path) for _ in range(4)]
    won: list[int] = []
    barrier = threading.Barrier(len(several))

    def come(number: int) -> None:
        barrier.wait(30)
        try:
            several[number][0].acquire(f"lab-{number}", 60)
        except Leased:
            return
        won.append(number)

    threads = [threading.Thread(target=come, args=(number,)) for number in range(len(several))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for _, transport in several:
        transport.close()
    assert len(won) == 1
    found = json.loads((tmp_path / "lab" / "lease.json").read_text())
    assert found["owner"] == f"lab-{won[0]}"
