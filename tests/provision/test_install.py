"""What is left of a machine's lease, its power and its medium when an installation fails."""

from pathlib import Path

import pytest

from lab.errors import BadInput, LabError
from lab.hypervisors.model import PowerState
from lab.machines import bmc_lease
from lab.machines.bmc_lease import BmcLease, from_tag
from lab.machines.installation import NotInstalled
from lab.machines.lease_file import Leased
from lab.machines.memory_bmc import MemoryBmc
from lab.machines.power import BmcError
from lab.provision.bmc import BmcControl
from lab.provision.home import LabFolder
from lab.provision.install import _leased, _named, _off_after_failure
from lab.provision.state import PhysicalAccess
from lab.waiting import Deadline, DeadlineExceeded


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else writes asset tags here."""
    monkeypatch.setattr(bmc_lease.BmcLease.__init__, "__defaults__", (0.01,))


def test_a_lease_is_kept_after_success_and_given_back_after_a_failure() -> None:
    bmc = MemoryBmc()
    with _leased(bmc, "aa", "one"):
        assert BmcLease(bmc, "aa").ours
    assert BmcLease(bmc, "aa").ours
    BmcLease(bmc, "aa").release()
    with pytest.raises(NotInstalled), _leased(bmc, "aa", "one"):
        raise NotInstalled("no disk")
    assert bmc.asset_tag() == ""


def test_a_machine_that_could_not_be_put_right_is_marked() -> None:
    bmc = MemoryBmc()
    error = NotInstalled("no disk")
    error.add_note("and afterwards: the drive is stuck")
    with pytest.raises(NotInstalled), _leased(bmc, "aa", "one"):
        raise error
    left = from_tag(bmc.asset_tag())
    assert left is not None
    assert left.broken
    with pytest.raises(Leased, match="one left this machine broken"):
        BmcLease(bmc, "bb").acquire("two", 60)


def test_a_machine_of_another_lab_is_not_touched() -> None:
    bmc = MemoryBmc()
    BmcLease(bmc, "bb").acquire("two", 60)
    before = bmc.asset_tag()
    with pytest.raises(Leased, match="two works with this machine"), _leased(bmc, "aa", "one"):
        bmc.power_on(Deadline.after(1))
    assert bmc.asset_tag() == before
    assert bmc.booted == []


def test_a_machine_whose_system_failed_is_off() -> None:
    bmc = MemoryBmc()
    bmc.power_on(Deadline.after(1))
    with pytest.raises(NotInstalled), _off_after_failure(bmc):
        raise NotInstalled("never answers")
    assert bmc.state() is PowerState.OFF


def test_an_error_names_its_machine_and_what_is_left() -> None:
    error = BmcError("503", hint="try again")
    error.add_note("and afterwards: 503 again")
    named = _named("app1", error)
    assert type(named) is BmcError
    assert str(named) == "machine app1: 503\nand afterwards: 503 again"
    assert named.hint == "try again"
    assert _named("app1", BadInput("2 systems")).exit_code == 2
    assert type(_named("app1", DeadlineExceeded("late"))) is LabError


def test_a_password_that_is_gone_is_said_with_its_place(tmp_path: Path) -> None:
    access = PhysicalAccess(
        endpoint="https://127.0.0.1:1",
        system="1",
        user="admin",
        certificate=tmp_path / "certificate.pem",
        password_file=tmp_path / "password",
        ssh_host="127.0.0.1",
        ssh_port=22,
        lease="aa",
    )
    control = BmcControl(access, LabFolder("one", tmp_path))
    with pytest.raises(LabError, match=r"no password in .*/password"):
        control.power()
    assert not control.console.exists(), "nobody records it"
