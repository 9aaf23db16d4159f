"""A lease on a bare machine, which has no system that could keep a file: in the asset tag that its BMC keeps.

The rules are those of the lease on a running machine (``lease_file``), and the BMC's clock counts. Redfish has no
compare-and-swap that every BMC knows: who writes looks again for a while, and of two that come together the last one
stays. An asset tag that is no lease is never overwritten.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from lab.machines.lease_file import Lease, Leased, LeaseLost, held, marked, released, renewed, taken
from lab.machines.power import AssetTag, BmcError
from lab.waiting import Deadline, DeadlineExceeded, wait_until

SETTLE_SECONDS = 2.0
BROKEN = "broken"
MARK = "broken in an earlier lab"
_TAG = re.compile(r"lab/(?P<owner>[a-z0-9-]{1,31})/(?P<token>[0-9a-f]*)/(?P<expires>[0-9]{1,12}|broken)")
"""At most 63 letters, which is what BMCs keep."""


def as_tag(lease: Lease | None) -> str:
    """Return a lease as an asset tag; why a machine is broken has no place in it."""
    if lease is None:
        return ""
    return f"lab/{lease.owner}/{lease.token}/{BROKEN if lease.broken else lease.expires}"


def from_tag(text: str) -> Lease | None:
    """Return the lease in an asset tag, None for an empty one. Raises Leased for anything else."""
    if not text:
        return None
    found = _TAG.fullmatch(text)
    if found is None:
        raise Leased(
            f"the machine has the asset tag '{text}', which is no lease", hint="empty it, or name another machine"
        )
    if found["expires"] == BROKEN:
        return Lease(found["owner"], found["token"], 0, MARK)
    return Lease(found["owner"], found["token"], int(found["expires"]))


class BmcLease:
    """The lease on the machine behind one BMC; ``token`` (hexadecimal, at most 8 letters) proves that it is ours."""

    def __init__(self, bmc: AssetTag, token: str, settle_seconds: float = SETTLE_SECONDS) -> None:
        self._bmc = bmc
        self._token = token
        self._settle = settle_seconds

    @property
    def ours(self) -> bool:
        """Whether we hold it. Raises BmcError, Leased for a tag that is no lease."""
        found = from_tag(self._bmc.asset_tag())
        return found is not None and found.token == self._token

    def acquire(self, owner: str, seconds: int) -> Lease:
        """Take the machine for so long. Raises Leased, BmcError."""
        lease = taken(from_tag(self._bmc.asset_tag()), owner, self._bmc.clock(), seconds, self._token)
        try:
            self._bmc.write_asset_tag(as_tag(lease))
            self._stays(lease)
        except BmcError as error:
            if not self.ours:
                raise Leased(f"another lab took this machine at the same moment: {error}") from error
            raise
        return lease

    def renew(self, seconds: int) -> Lease:
        """Keep the machine for so long from now. Raises LeaseLost, BmcError."""
        return self._change(lambda found: renewed(found, self._token, self._bmc.clock(), seconds))

    def mark_broken(self, why: str) -> Lease:
        """Say that the machine is broken; it stays refused after the release. Raises LeaseLost, BmcError."""
        return self._change(lambda found: marked(found, self._token, why))

    def release(self) -> None:
        """Give the machine back. Raises LeaseLost, BmcError."""
        self._bmc.write_asset_tag(as_tag(released(self._mine(), self._token)))

    def _change(self, change: Callable[[Lease], Lease]) -> Lease:
        lease = change(self._mine())
        self._bmc.write_asset_tag(as_tag(lease))
        return lease

    def _mine(self) -> Lease:
        try:
            return held(from_tag(self._bmc.asset_tag()), self._token)
        except Leased as error:
            raise LeaseLost(f"the lease on this machine is not ours any more: {error}") from error

    def _stays(self, lease: Lease) -> None:
        """Look for a while whether somebody else writes too. Raises Leased."""
        wanted = as_tag(lease)
        try:
            other = wait_until(
                lambda: found if (found := self._bmc.asset_tag()) != wanted else None,
                Deadline.after(self._settle),
                "other lab",
                every=self._settle / 4,
            )
        except DeadlineExceeded:
            return
        raise Leased(f"another lab took this machine at the same moment: {other}", hint="wait, or end that lab")
