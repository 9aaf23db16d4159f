"""``python3 -m lab.replication.provider --config FILE``; with ``manages_only`` in it, on a VMM server."""

from lab.replication.common.config import ServiceConfig
from lab.replication.common.outbox import Outbox
from lab.replication.common.service import Component, run_service
from lab.replication.provider.coordinator import Coordinator


def build(config: ServiceConfig, outbox: Outbox) -> Component:
    """Return the provider that the configuration asks for."""
    if config.settings.get("manages_only"):
        return Coordinator(config, outbox)
    # Needs libvirt's bindings, which a VMM server does not have.
    from lab.replication.provider.provider import Provider

    return Provider(config, outbox)


if __name__ == "__main__":
    run_service("provider", build)
