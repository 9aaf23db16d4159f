"""Azure's storage cannot be reached for a while: what was tracked waits on the host (seed L102).

About three minutes without acceleration. It begins with a protected machine, and leaves it protected.
"""

from __future__ import annotations

import pytest

from fixtures.outages import Outages
from fixtures.packet_filter import unreachable
from fixtures.stacks import Protected
from fixtures.waiting_changes import waited_in_files
from lab.stacks.protocol import Stack
from reports.evidence import EvidenceRecorder

pytestmark = [pytest.mark.needs_hosts, pytest.mark.needs_azure, pytest.mark.needs_storage_of_ours]


@pytest.mark.requirement("H2A-HRL", "LAB-RECOVERY")
def test_changes_wait_in_hrl_files_beside_their_disk_while_the_storage_cannot_be_reached(
    primary_role: Protected, stack: Stack, outages: Outages, evidence: EvidenceRecorder
) -> None:
    azure = primary_role.lab.topology.azure
    assert azure is not None
    with outages.during("the storage out of reach"):
        waited_in_files(primary_role, stack, evidence, unreachable(primary_role.host.ssh, azure.storage_address))
