"""One side of the host rows, as a process: a real provider that takes orders and tells events in lines of JSON.

In: ``{"id": n, "name": command, "arguments": {...}}``. Out: ``{"id": n, "value": {...}}`` or ``{"id": n, "error":
text}``, and ``{"event": kind, "data": {...}, "at_ns": n}``. It ends when there is nothing more to read.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lab.replication.common.config import load_config
from lab.replication.common.control import ControlClient
from lab.replication.common.durable import JSON
from lab.replication.common.outbox import Outbox
from lab.replication.common.service import LOG_FORMAT
from lab.replication.common.tls import client_context
from lab.replication.provider.provider import Provider

log = logging.getLogger(__name__)
_ONE_LINE = threading.Lock()


class Speaking(ControlClient):
    """Says events instead of telling them a configuration server."""

    def event(self, kind: str, data: JSON, *, machine: str | None = None, stream: str | None = None) -> None:
        """Print an event."""
        del machine, stream
        say({"event": kind, "data": data, "at_ns": time.time_ns()})


def say(value: dict[str, Any]) -> None:
    """Print one line, whole, whichever thread says it."""
    with _ONE_LINE:
        sys.stdout.write(json.dumps(value) + "\n")
        sys.stdout.flush()


def obey(number: int, handler: Callable[[JSON], JSON], arguments: JSON) -> None:
    """Execute an order and say what came of it."""
    try:
        say({"id": number, "value": handler(arguments)})
    except Exception as error:
        log.exception("order %d failed", number)
        say({"id": number, "error": f"{type(error).__name__}: {error}"})


def main(path: Path) -> None:
    """Run a provider until standard input ends."""
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {LOG_FORMAT}")
    config = load_config(path)
    client = Speaking(config.configuration_server, client_context(config.identity_dir))
    outbox = Outbox(config.state_dir / "outbox", client)
    provider = Provider(config, outbox)
    provider.start()
    outbox.start()
    handlers = provider.handlers()
    for line in sys.stdin:
        order = json.loads(line)
        obey(int(order["id"]), handlers[str(order["name"])], order["arguments"])
    outbox.close()
    provider.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
