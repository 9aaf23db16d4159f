"""The life of a service: configuration, log, control connection, orderly end."""

from __future__ import annotations

import argparse
import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Protocol

from lab.replication.common.config import ServiceConfig, load_config
from lab.replication.common.control import ControlClient, Handler, serve_commands
from lab.replication.common.durable import write_atomically
from lab.replication.common.outbox import Outbox
from lab.replication.common.tls import client_context
from lab.waiting import EndOfService

log = logging.getLogger(__name__)

LOG_FORMAT = "%(levelname)s %(threadName)s %(name)s: %(message)s"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
JOIN_S = 30.0


class Component(Protocol):
    """What differs between services."""

    @property
    def slow_commands(self) -> frozenset[str]:
        """Return the commands that must not hold up others; their handlers may run beside any other."""

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands this component executes."""

    def start(self) -> None:
        """Begin to work."""

    def close(self) -> None:
        """End; durable state stays."""


Builder = Callable[[ServiceConfig, Outbox], Component]


class Service:
    """A component with its connection to the configuration server."""

    def __init__(self, config: ServiceConfig, build: Builder) -> None:
        config.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._config = config
        self._stop = threading.Event()
        self._client = ControlClient(config.configuration_server, client_context(config.identity_dir))
        self._outbox = Outbox(config.state_dir / "outbox", self._client)
        self._component = build(config, self._outbox)
        self._commands = threading.Thread(target=self._serve, name="commands", daemon=True)
        self._polled = False

    def start(self) -> None:
        """Start the component, then take commands."""
        self._component.start()
        self._outbox.start()
        self._commands.start()

    def close(self) -> None:
        """Take no more commands and stop the component."""
        self._stop.set()
        self._client.close()
        self._outbox.close()
        self._component.close()
        self._commands.join(JOIN_S)

    def _serve(self) -> None:
        serve_commands(
            self._client, self._component.handlers(), self._stop, self._note_poll, self._component.slow_commands
        )

    def _note_poll(self) -> None:
        # A push installation waits for this file: it proves that the service polls since this boot.
        if not self._polled:
            write_atomically(self._config.state_dir / "polled-in-boot", BOOT_ID.read_bytes())
            self._polled = True


def run_service(
    kind: str, build: Builder, arguments: list[str] | None = None, parser: argparse.ArgumentParser | None = None
) -> None:
    """Run a service until SIGTERM or SIGINT; ``--config`` names its file."""
    parser = parser or argparse.ArgumentParser(prog=f"lab.replication.{kind}")
    parser.add_argument("--config", type=Path, default=Path(f"/etc/recovery/{kind}.json"))
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    service = Service(load_config(given.config), build)
    ended = EndOfService()
    service.start()
    log.info("%s is running", kind)
    ended.wait()
    service.close()
