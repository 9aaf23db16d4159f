"""The BMCs of a lab's physical machines, and power and console of such a machine. There is no hypervisor here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from lab.emulators.bmc.ipmi import CIPHER_SUITE
from lab.errors import LabError
from lab.hypervisors.model import PowerState
from lab.hypervisors.trust import Trust
from lab.machines.bmc_lease import BmcLease
from lab.machines.installation import POWER_SECONDS, leave
from lab.machines.ipmi import IpmiPower, IpmiTarget
from lab.machines.power import Bmc, BmcError
from lab.machines.power_by_ipmi import PoweredByIpmi
from lab.machines.redfish import connect
from lab.machines.redfish_session import Target
from lab.provision.home import LabFolder
from lab.provision.state import LabState, PhysicalAccess
from lab.waiting import Deadline, DeadlineExceeded

LEASE_SECONDS = 600
NOT_RECORDED = "not-recorded"


@contextmanager
def opened(access: PhysicalAccess) -> Iterator[Bmc]:
    """Log in at a machine's BMC for the block. Raises BmcError, LoginRefused, LabError without the password."""
    try:
        password = access.password_file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise LabError(f"BMC {access.endpoint}: there is no password in {access.password_file}") from error
    # The BMC's own certificate is what the file holds, so it is pinned.
    trust = Trust(access.certificate, pinned=True)
    bmc = connect(Target(access.endpoint, access.user, password, trust, access.system))
    try:
        yield _with_power_by_ipmi(bmc, access, password)
    finally:
        bmc.close()


def _with_power_by_ipmi(bmc: Bmc, access: PhysicalAccess, password: str) -> Bmc:
    if access.ipmi_port is None:
        return bmc
    host = urlsplit(access.endpoint).hostname or ""
    # An emulated BMC's suite is known; a real one is asked.
    suite = CIPHER_SUITE if access.uri else None
    target = IpmiTarget(host, access.user, password, access.ipmi_port, allowed=True, cipher_suite=suite)
    return PoweredByIpmi(IpmiPower(target), bmc)


@dataclass(frozen=True)
class BmcControl:
    """Power and console of a physical machine."""

    access: PhysicalAccess
    folder: LabFolder

    def power(self) -> PowerState:
        """Return the present state. Raises BmcError."""
        with opened(self.access) as bmc:
            return bmc.state()

    def power_on(self) -> None:
        """Switch on. Raises BmcError, DeadlineExceeded."""
        with opened(self.access) as bmc:
            bmc.power_on(Deadline.after(POWER_SECONDS))

    def power_off(self) -> None:
        """Cut the power. Raises BmcError, DeadlineExceeded."""
        with opened(self.access) as bmc:
            bmc.power_off(Deadline.after(POWER_SECONDS))

    @property
    def console(self) -> Path:
        """The record of the serial console; there is no such file when nobody records it."""
        return self.access.console or self.folder.processes / NOT_RECORDED


def power_over_bmc(access: PhysicalAccess) -> str:
    """Return the power state for people, also when the BMC does not answer."""
    try:
        with opened(access) as bmc:
            return bmc.state().value
    except LabError:
        return "BMC does not answer"


def give_back(state: LabState) -> list[str]:
    """Switch the lab's physical machines off, empty their drives and end their leases; return what was done.

    A machine whose lease is not ours any more is somebody else's and stays as it is. A BMC of the lab's own that was
    killed is gone with its machine's power; that is no failure.

    Raises:
        LabError: a machine could not be given back; the message names all of them.
    """
    done: list[str] = []
    failures: list[str] = []
    for name, access in state.physical.items():
        try:
            if _give_back(access):
                done.append(f"lease on {name}")
        except (LabError, DeadlineExceeded) as error:
            if not (access.uri and isinstance(error, BmcError)):
                failures.append(f"{name}: {error}")
    if failures:
        raise LabError("; ".join(failures))
    return done


def _give_back(access: PhysicalAccess) -> bool:
    with opened(access) as bmc:
        lease = BmcLease(bmc, access.lease)
        if not lease.ours:
            return False
        leave(bmc)
        lease.release()
    return True
