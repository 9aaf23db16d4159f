"""``python3 -m lab.replication.configuration_server [init] --config FILE``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from lab.replication.common.config import BadConfig
from lab.replication.common.serving import serve_until_signalled
from lab.replication.configuration_server.config import ServerConfig, load_server_config

DEFAULT_CONFIG = Path("/etc/recovery/configuration-server.json")
LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"

log = logging.getLogger("lab.replication.configuration_server")


def main(arguments: list[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    parser = argparse.ArgumentParser(prog="lab.replication.configuration_server")
    parser.add_argument("command", nargs="?", choices=("serve", "init"), default="serve")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        config = load_server_config(given.config)
    except (BadConfig, OSError) as error:
        log.error("%s", error)  # noqa: TRY400 - the user's mistake, a traceback would hide it
        return 2
    if given.command == "init":
        from lab.replication.configuration_server.initialise import initialise

        for path in initialise(config):
            log.info("issued %s", path)
        return 0
    asyncio.run(_serve(config))
    return 0


async def _serve(config: ServerConfig) -> None:
    from lab.replication.configuration_server.server import ConfigurationServer

    address = config.listen.address
    await serve_until_signalled(
        lambda: ConfigurationServer(config), lambda port: log.info("serving on %s:%d", address, port)
    )


if __name__ == "__main__":
    sys.exit(main())
