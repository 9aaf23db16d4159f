"""The few QMP exchanges that a hub needs."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

from lab.networks.protocol import NetworkError

EXCHANGE_SECONDS = 10.0


def execute(monitor: Path, command: str, **arguments: Any) -> Any:
    """Run one QMP command on a fresh connection and return its value. Raises NetworkError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(EXCHANGE_SECONDS)
            connection.connect(str(monitor))
            with connection.makefile("rw", encoding="utf-8") as stream:
                stream.readline()
                _exchange(stream, "qmp_capabilities", {})
                return _exchange(stream, command, arguments)
    except OSError as error:
        raise NetworkError(f"the hub behind {monitor} does not answer: {error}") from error


def _exchange(stream: Any, command: str, arguments: dict[str, Any]) -> Any:
    stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    stream.flush()
    while line := stream.readline():
        reply = json.loads(line)
        if "return" in reply:
            return reply["return"]
        if "error" in reply:
            raise NetworkError(f"{command}: {reply['error'].get('desc', reply['error'])}")
    raise NetworkError(f"{command}: the hub closed the connection")
