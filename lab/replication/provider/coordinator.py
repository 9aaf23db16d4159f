"""The provider of a VMM server: it is registered and answers the orchestrator, and relays nothing (decision 0014)."""

from __future__ import annotations

from collections.abc import Mapping

from lab.replication.common.config import ServiceConfig
from lab.replication.common.control import Handler
from lab.replication.common.outbox import Outbox

NO_COMMANDS: frozenset[str] = frozenset()


class Coordinator:
    """A provider without a hypervisor, so without libvirt's bindings too."""

    slow_commands = NO_COMMANDS

    def __init__(self, config: ServiceConfig, outbox: Outbox) -> None:
        self._config = config
        self._outbox = outbox

    def handlers(self) -> Mapping[str, Handler]:
        """Return nothing: commands go to the providers of hosts."""
        return {}

    def start(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
