"""The ways of replication that the specification knows."""

from __future__ import annotations

from enum import StrEnum


class Scenario(StrEnum):
    """The ways of replication in the specification; the last letter is the target."""

    V2A = "V2A"
    P2A = "P2A"
    H2A = "H2A"
    H2A_VMM = "H2A-VMM"
    V2S = "V2S"
    P2S = "P2S"
    H2S = "H2S"

    @property
    def to_secondary_site(self) -> bool:
        """Whether the target is a second site of one's own and not Azure."""
        return self.endswith("S")

    @property
    def over_configuration_server(self) -> bool:
        """Whether a configuration server replicates to Azure (VMware and physical machines)."""
        return self in (Scenario.V2A, Scenario.P2A)
