"""How a server treats a caller: run inside a machine as that caller. Standard library only; copied there as one file.

Prints JSON ``{tcp, tls, cipher, http, error}``: whether TCP connected, the TLS version and cipher or null, the HTTP
status or null, and the first error.
"""

from __future__ import annotations

import argparse
import http.client
import json
import socket
import ssl
import sys
from typing import Any

SECONDS = 20


def context(identity: str | None, ca: str | None) -> ssl.SSLContext:
    """Return the TLS settings of a caller with this identity folder, who trusts ``ca`` or nobody in particular."""
    settings = ssl.create_default_context(cafile=ca)
    if ca is None:
        # The caller under test is the client: what it thinks of the server is no part of the question.
        settings.check_hostname = False
        settings.verify_mode = ssl.CERT_NONE
    if identity is not None:
        settings.load_cert_chain(identity + "/machine.pem", identity + "/machine.key")
    return settings


def probe(
    address: str, port: int, path: str, settings: ssl.SSLContext | None, source: str | None = None
) -> dict[str, Any]:
    """Call once, from an address of this machine if given, and say what happened."""
    found: dict[str, Any] = {"tcp": False, "tls": None, "cipher": None, "http": None, "error": None}
    try:
        own = None if source is None else (source, 0)
        with socket.create_connection((address, port), SECONDS, own) as plain:
            found["tcp"] = True
            connection = plain if settings is None else settings.wrap_socket(plain, server_hostname=address)
            if isinstance(connection, ssl.SSLSocket):
                found["tls"], found["cipher"] = connection.version(), (connection.cipher() or [None])[0]
            caller = http.client.HTTPConnection(address, port, timeout=SECONDS)
            caller.sock = connection
            caller.request("GET", path)
            found["http"] = caller.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        found["error"] = f"{type(error).__name__}: {error}"
    return found


def main() -> None:
    """Run one probe."""
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("port", type=int)
    parser.add_argument("--path", default="/")
    parser.add_argument("--identity")
    parser.add_argument("--ca")
    parser.add_argument("--source")
    parser.add_argument("--plain", action="store_true")
    given = parser.parse_args()
    settings = None if given.plain else context(given.identity, given.ca)
    sys.stdout.write(json.dumps(probe(given.address, given.port, given.path, settings, given.source)))


if __name__ == "__main__":
    main()
