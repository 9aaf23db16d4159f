"""The power of one machine of a lab, for the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lab.errors import LabError
from lab.hypervisors.protocols import HypervisorError
from lab.provision.home import Home
from lab.provision.lab import Control
from lab.provision.state import load_state
from lab.provision.up import open_lab
from lab.topology.load import did_you_mean, load_topology
from lab.waiting import DeadlineExceeded


@contextmanager
def machine_control(home: Home, lab_name: str, machine: str) -> Iterator[Control]:
    """Open the power of a machine. Raises LabError, also for what its host or BMC refuses inside of the block."""
    state = load_state(home.lab(lab_name))
    if state is None:
        raise LabError(f"there is no lab {lab_name}", hint="lab up FILE")
    lab = open_lab(home, lab_name, load_topology(state.topology))
    try:
        known = lab.names()
        if machine not in known:
            raise LabError(f"lab {lab_name} has no machine {machine}{did_you_mean(machine, known)}")
        yield lab.control(machine)
    except (HypervisorError, DeadlineExceeded) as error:
        raise LabError(f"machine {machine}: {error}") from error
    finally:
        lab.close()
