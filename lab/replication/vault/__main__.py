"""``python -m lab.replication.vault --config FILE``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from pathlib import Path

from lab.hypervisors.protocols import HypervisorError
from lab.replication.common.config import BadConfig
from lab.replication.common.serving import serve_until_signalled
from lab.replication.vault.config import VaultConfig, load_vault_config, open_region, open_storage, public_addresses_of
from lab.replication.vault.exports import NbdServers
from lab.replication.vault.server import VaultServer

LOG_FORMAT = "%(levelname)s %(threadName)s %(name)s: %(message)s"

log = logging.getLogger("lab.replication.vault")


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT and return the exit code."""
    parser = argparse.ArgumentParser(prog="lab.replication.vault")
    parser.add_argument("--config", type=Path, required=True)
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    # The library logs every request at this level, with addresses that carry signatures.
    logging.getLogger("azure").setLevel(logging.WARNING)
    try:
        asyncio.run(_serve(load_vault_config(given.config)))
    except (BadConfig, HypervisorError, OSError, ValueError) as error:
        log.error("%s", error)  # noqa: TRY400 - said in one line: the cause is outside of this program
        return 2
    return 0


async def _serve(config: VaultConfig) -> None:
    def build() -> VaultServer:
        exports = NbdServers(config.exports_dir)
        addresses = public_addresses_of(config.region)
        return VaultServer(config, open_storage(config.storage), open_region(config.region), exports, addresses)

    address = config.listen.address
    await serve_until_signalled(build, lambda port: log.info("vault %s serves on %s:%d", config.name, address, port))


if __name__ == "__main__":
    sys.exit(main())
