"""The real master target, with files in the place of block devices."""

from __future__ import annotations

from pathlib import Path

from lab.replication.common.config import ServiceConfig
from lab.replication.common.outbox import Outbox
from lab.replication.common.service import run_service
from lab.replication.master_target.server import MasterTarget


def build(config: ServiceConfig, outbox: Outbox) -> MasterTarget:
    directory = Path(config.settings["standin_replicas"])

    def resolve(serial: str) -> Path | None:
        path = directory / serial
        return path if path.exists() else None

    return MasterTarget(config, outbox, resolve)


if __name__ == "__main__":
    run_service("master-target", build)
