"""Leases of bare machines: one lab at a time, and no asset tag of anybody else is lost."""

from dataclasses import dataclass

import pytest
from bmc_backends import Emulated
from hypothesis import given
from hypothesis import strategies as st

from lab.machines.bmc_lease import MARK, BmcLease, as_tag, from_tag
from lab.machines.lease_file import Lease, Leased, LeaseLost
from lab.machines.memory_bmc import MemoryBmc
from lab.machines.power import BmcError
from lab.machines.redfish import connect

MOST_LETTERS = 63
OWNERS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,30}", fullmatch=True)
TOKENS = st.from_regex(r"[0-9a-f]{8}", fullmatch=True)


@dataclass
class Tagged(MemoryBmc):
    now: int = 1_700_000_000

    def clock(self) -> int:
        return self.now


def lease_of(bmc: MemoryBmc, token: str) -> BmcLease:
    return BmcLease(bmc, token, settle_seconds=0.01)


@given(owner=OWNERS, token=TOKENS, expires=st.integers(0, 10**11), broken=st.booleans())
def test_a_tag_says_what_the_lease_says_and_is_short(owner: str, token: str, expires: int, broken: bool) -> None:
    lease = Lease(owner, token, 0, MARK) if broken else Lease(owner, token, expires)
    assert from_tag(as_tag(lease)) == lease
    assert broken or len(as_tag(lease)) <= MOST_LETTERS


def test_another_lab_is_refused_until_the_lease_has_ended() -> None:
    bmc = Tagged()
    lease_of(bmc, "aa").acquire("one", 60)
    with pytest.raises(Leased, match="one works with this machine for another 60 s"):
        lease_of(bmc, "bb").acquire("two", 60)
    bmc.now += 30
    lease_of(bmc, "aa").renew(60)
    bmc.now += 59
    with pytest.raises(Leased, match="another 1 s"):
        lease_of(bmc, "bb").acquire("two", 60)
    lease_of(bmc, "aa").release()
    assert bmc.asset_tag() == ""
    lease_of(bmc, "bb").acquire("two", 60)


def test_who_lost_a_lease_changes_nothing() -> None:
    bmc = Tagged()
    lease_of(bmc, "aa").acquire("one", 60)
    bmc.now += 61
    lease_of(bmc, "bb").acquire("two", 60)
    before = bmc.asset_tag()
    late = lease_of(bmc, "aa")
    assert not late.ours
    for change in (lambda: late.renew(60), late.release, lambda: late.mark_broken("why")):
        with pytest.raises(LeaseLost):
            change()
    assert bmc.asset_tag() == before


def test_an_asset_tag_that_is_no_lease_stays() -> None:
    bmc = Tagged()
    bmc.write_asset_tag("Inventory 4711")
    with pytest.raises(Leased, match="'Inventory 4711', which is no lease"):
        lease_of(bmc, "aa").acquire("one", 60)
    with pytest.raises(LeaseLost, match="Inventory 4711"):
        lease_of(bmc, "aa").release()
    assert bmc.asset_tag() == "Inventory 4711"


def test_a_broken_machine_is_refused_after_its_lease_too() -> None:
    bmc = Tagged()
    lease_of(bmc, "aa").acquire("one", 60)
    lease_of(bmc, "aa").mark_broken("the drive is stuck")
    lease_of(bmc, "aa").release()
    bmc.now += 10_000
    with pytest.raises(Leased, match="one left this machine broken"):
        lease_of(bmc, "bb").acquire("two", 60)


def test_of_two_that_come_together_one_is_refused() -> None:
    class Crowded(Tagged):
        def write_asset_tag(self, text: str) -> None:
            super().write_asset_tag("lab/two/bb/1700000060")

    with pytest.raises(Leased, match="at the same moment"):
        lease_of(Crowded(), "aa").acquire("one", 60)


def test_a_bmc_that_keeps_no_asset_tag_gives_no_lease() -> None:
    class Forgetful(Tagged):
        def write_asset_tag(self, text: str) -> None:
            raise BmcError("not supported")

    with pytest.raises(Leased, match="not supported"):
        lease_of(Forgetful(), "aa").acquire("one", 60)


@pytest.mark.qemu
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_the_lease_is_in_the_bmc(emulated_bmc: Emulated) -> None:
    ours, theirs = connect(emulated_bmc.target()), connect(emulated_bmc.target())
    lease_of_ours = BmcLease(ours, "aa", settle_seconds=0.1)
    lease_of_ours.acquire("one", 60)
    with pytest.raises(Leased, match="one works with this machine"):
        BmcLease(theirs, "bb", settle_seconds=0.1).acquire("two", 60)
    with pytest.raises(BmcError, match="AssetTag"):
        theirs.write_asset_tag("x" * 64)
    lease_of_ours.release()
    assert theirs.asset_tag() == ""
    for bmc in (ours, theirs):
        bmc.close()
