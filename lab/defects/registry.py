"""All defects, and which probes exercise which part of the stack."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from lab.defects.model import Defect, Part
from lab.defects.parts.control import CONFIGURATION_SERVER
from lab.defects.parts.deployment import DEPLOYMENT, PROVIDER
from lab.defects.parts.host_life import TO_AZURE, TO_SITE
from lab.defects.parts.machines import MACHINES
from lab.defects.parts.management import MANAGEMENT
from lab.defects.parts.master_target import MASTER_TARGET
from lab.defects.parts.mobility import MOBILITY
from lab.defects.parts.placement import PLACEMENT
from lab.defects.parts.rounds import GROUP
from lab.defects.parts.servers import PROCESS_SERVER
from lab.defects.parts.targets import AZURE, HOSTS, SURROUNDINGS
from lab.defects.parts.wire import WIRE
from lab.defects.patching import ROOT
from lab.errors import BadInput

DEFECTS: tuple[Defect, ...] = (
    *MOBILITY,
    *GROUP,
    *PROCESS_SERVER,
    *MASTER_TARGET,
    *WIRE,
    *CONFIGURATION_SERVER,
    *MANAGEMENT,
    *AZURE,
    *HOSTS,
    *TO_SITE,
    *TO_AZURE,
    *PROVIDER,
    *SURROUNDINGS,
    *DEPLOYMENT,
    *PLACEMENT,
    *MACHINES,
)
FOLDER = ROOT / "tests" / "probes"
IMAGE_PROBES = "oracle_image.py"
_DATA = ("test_data_path.py", "test_doors.py")
PROBES: Mapping[Part, tuple[str, ...]] = MappingProxyType(
    {
        Part.MOBILITY: (
            "test_orderly_restart.py",
            "../replication/mobility/test_open_order.py",
            *_DATA,
            "test_agent.py",
        ),
        Part.PROCESS_SERVER: _DATA,
        Part.MASTER_TARGET: _DATA,
        Part.WIRE: _DATA,
        Part.GROUP: ("test_rounds.py",),
        Part.CONFIGURATION_SERVER: ("test_control.py", "test_deployment.py", "test_places.py"),
        # The stack's own tests of these are quick already, and carry the rules.
        Part.AZURE: ("../replication/control/test_azure_target.py", "test_azure_ways.py"),
        Part.HOSTS: (
            "../replication/control/test_host_rules.py",
            "test_host_machines.py",
            "test_host_machines_in_azure.py",
            "../replication/control/test_public_address.py",
        ),
        Part.PROVIDER: ("test_host_capture.py", "test_vmm_provider.py", "test_tickets.py"),
        Part.SURROUNDINGS: (
            "../replication/control/test_management_console.py",
            "../replication/control/test_discovery.py",
            "../replication/data/test_push.py",
        ),
    }
)
"""A defect is held against the probes that run its part: the others would not execute a line of it."""


def defect(name: str) -> Defect:
    """Return a defect. Raises BadInput."""
    for found in DEFECTS:
        if found.name == name:
            return found
    close = difflib.get_close_matches(name, [found.name for found in DEFECTS], n=1)
    raise BadInput(f"there is no defect {name!r}" + (f", did you mean {close[0]!r}?" if close else ""))
