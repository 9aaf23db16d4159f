"""``python -m lab.provision.lease_keeper``: keeps the leases of a lab's physical machines fresh while it is up."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lab.errors import LabError
from lab.machines.bmc_lease import BmcLease
from lab.machines.lease_file import LeaseLost
from lab.provision.bmc import LEASE_SECONDS, opened
from lab.provision.home import LabFolder
from lab.provision.lent import renew_lent
from lab.provision.state import LentAccess, PhysicalAccess, load_state
from lab.waiting import EndOfService

RENEW_SECONDS = LEASE_SECONDS / 5
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
Access = TypeVar("Access", PhysicalAccess, LentAccess)
log = logging.getLogger("lab.provision.lease_keeper")


def renew_all(machines: dict[str, PhysicalAccess]) -> dict[str, PhysicalAccess]:
    """Renew every lease and return the machines that are still ours; a BMC that fails is asked again next time."""
    ours = dict(machines)
    for name, access in machines.items():
        try:
            with opened(access) as bmc:
                BmcLease(bmc, access.lease).renew(LEASE_SECONDS)
        except LeaseLost as error:
            log.error("%s: %s", name, error)  # noqa: TRY400 - the cause is outside of this program
            del ours[name]
        except LabError as error:
            log.warning("%s: %s", name, error)
    return ours


def renew_all_lent(machines: dict[str, LentAccess]) -> dict[str, LentAccess]:
    """As ``renew_all``, for machines that are only lent; one that is restarted is asked again next time."""
    ours = dict(machines)
    for name, access in machines.items():
        try:
            renew_lent(name, access)
        except LeaseLost as error:
            log.error("%s: %s", name, error)  # noqa: TRY400 - the cause is outside of this program
            del ours[name]
        except (LabError, TimeoutError) as error:
            log.warning("%s: %s", name, error)
    return ours


def main(arguments: list[str] | None = None) -> int:
    """Renew until a signal, or until no lease is left."""
    parser = argparse.ArgumentParser(prog="lab.provision.lease_keeper")
    parser.add_argument("--lab", required=True)
    parser.add_argument("--folder", type=Path, required=True, help="the lab's folder")
    parser.add_argument("--lent", action="store_true", help="those that are only lent, instead of those behind BMCs")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    state = load_state(LabFolder(given.lab, given.folder))
    ended = EndOfService()
    if state is not None and given.lent:
        _keep(state.lent, renew_all_lent, ended)
    elif state is not None:
        _keep(state.physical, renew_all, ended)
    return 0


def _keep(
    machines: dict[str, Access], renew: Callable[[dict[str, Access]], dict[str, Access]], end: EndOfService
) -> None:
    while machines and not end.wait(RENEW_SECONDS):
        machines = renew(machines)


if __name__ == "__main__":
    sys.exit(main())
