"""A WSGI application behind HTTPS on loopback, or at another address of a namespace of the lab."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler

from lab.emulators.common.front import LOOPBACK, Front, LoopbackServer

log = logging.getLogger(__name__)
HANDSHAKE_SECONDS = 10.0
CALL_SECONDS = 60.0
Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class WsgiFront(Front):
    """Serves one application; its certificate and key are in ``home``. ``tls``: False for clients that know none."""

    def __init__(
        self,
        application: Wsgi,
        home: Path,
        common_name: str,
        port: int = 0,
        *,
        address: str = LOOPBACK,
        tls: bool = True,
    ) -> None:
        super().__init__(_Server(application, port, address), home, common_name, tls=tls)
        self._at = f"{'https' if tls else 'http'}://{address}"

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"{self._at}:{self.port}"


class _Server(LoopbackServer):
    """What wsgiref's handler asks its server for, over ours."""

    def __init__(self, application: Wsgi, port: int, address: str) -> None:
        self._application = application
        super().__init__(port, _Handler, address)
        self.base_environ = {
            "SERVER_NAME": address,
            "SERVER_PORT": str(self.server_address[1]),
            "GATEWAY_INTERFACE": "CGI/1.1",
            "REMOTE_HOST": "",
            "CONTENT_LENGTH": "",
            "SCRIPT_NAME": "",
        }

    def get_app(self) -> Wsgi:
        return self._application


class _Handler(WSGIRequestHandler):
    timeout = HANDSHAKE_SECONDS

    def setup(self) -> None:
        super().setup()
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        self.request.settimeout(CALL_SECONDS)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - overrides
        log.debug(format, *args)
