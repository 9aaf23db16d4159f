"""``python -m lab.replication.fabric --config FILE``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from lab.hypervisors.protocols import HypervisorError
from lab.replication.common.config import BadConfig
from lab.replication.common.serving import serve_until_signalled
from lab.replication.fabric.config import FabricConfig, load_fabric_config, open_discovery, open_driver
from lab.replication.fabric.discovery import Follower
from lab.replication.fabric.server import FabricServer

LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"

log = logging.getLogger("lab.replication.fabric")


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code."""
    parser = argparse.ArgumentParser(prog="lab.replication.fabric")
    parser.add_argument("--config", type=Path, required=True)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        asyncio.run(_serve(load_fabric_config(given.config)))
    except (BadConfig, HypervisorError, OSError) as error:
        log.error("%s", error)  # noqa: TRY400 - said in one line: the cause is outside of this program
        return 2
    return 0


async def _serve(config: FabricConfig) -> None:
    def build() -> FabricServer:
        source = open_discovery(config)
        return FabricServer(config, open_driver(config.driver), Follower(source) if source is not None else None)

    address = config.listen.address
    await serve_until_signalled(build, lambda port: log.info("fabric %s serves on %s:%d", config.name, address, port))


if __name__ == "__main__":
    sys.exit(main())
