"""The front on loopback: HTTPS, or HTTP whose bodies are encrypted by the login."""

from __future__ import annotations

import logging
import socket
import ssl
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import spnego.exceptions

from lab.emulators.common.front import Front, LoopbackServer
from lab.emulators.hyperv.wsman import sealed
from lab.emulators.hyperv.wsman.login import Accounts, Login, Refused, bindings_of
from lab.emulators.hyperv.wsman.service import Caller, Dropped, Service

log = logging.getLogger(__name__)
COMMON_NAME = "emulated-hyperv.localdomain"
PATH = "/wsman"
SOAP = "application/soap+xml;charset=UTF-8"
MOST_REQUEST = 512_000
"""MaxEnvelopeSizekb of WinRM is 500 by default."""
IDLE_SECONDS = 180.0
HANDSHAKE_SECONDS = 10.0


class WsmanServer(Front):
    """Serves a service in threads; certificate, key and the list of accounts are in ``home``."""

    def __init__(self, service: Service, accounts: Accounts, home: Path, port: int = 0, *, tls: bool = True) -> None:
        accounts.write(home / "accounts")
        self._scheme = "https" if tls else "http"
        server = _Server(service, accounts, port)
        super().__init__(server, home, COMMON_NAME, tls=tls)
        server.bindings = bindings_of(self.certificate) if tls else None

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"{self._scheme}://127.0.0.1:{self.port}{PATH}"


class _Server(LoopbackServer):
    def __init__(self, service: Service, accounts: Accounts, port: int) -> None:
        self.service, self.accounts = service, accounts
        self.bindings: Any = None
        super().__init__(port, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Microsoft-HTTPAPI/2.0", ""
    wbufsize = 1 << 16  # headers and body in one segment
    disable_nagle_algorithm = True
    timeout = HANDSHAKE_SECONDS
    server: _Server

    def setup(self) -> None:
        super().setup()
        if isinstance(self.request, ssl.SSLSocket):
            self.request.do_handshake()
        self.request.settimeout(IDLE_SECONDS)
        self._login = Login(self.server.accounts, self.server.bindings)

    def do_POST(self) -> None:
        body = self._body()
        if body is None:
            return
        if self.path.partition("?")[0].rstrip("/").casefold() != PATH:
            self._reply(404)
            return
        token = None
        header = self.headers.get("Authorization")
        try:
            if header is not None:
                token = self._login.step(header)
            if self._login.user is None:
                raise Refused  # noqa: TRY301 - one answer for all
        except Refused as refused:
            self._reply(401, authenticate=[refused.challenge] if refused.challenge else self._login.offers)
            return
        self._answer(body, self._login.user, [token] if token else [])

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - overrides
        log.debug(format, *args)

    def _answer(self, body: bytes, user: str, tokens: list[str]) -> None:
        context = self._login.context
        encrypted = self.headers.get("Content-Type", "").startswith("multipart/encrypted")
        if not body:
            self._reply(200, authenticate=tokens)  # the login came before the first message
            return
        if encrypted == (self.server.bindings is not None):
            self._reply(415 if encrypted else 401, authenticate=[] if encrypted else self._login.offers)
            return
        try:
            if encrypted and context is not None:
                body = sealed.opened(context, body)
        except (ValueError, spnego.exceptions.SpnegoError):
            self._reply(400)
            return
        caller = Caller(
            user, self.client_address[0], f"http{'' if encrypted else 's'}://{self.headers.get('Host')}{PATH}"
        )
        try:
            status, answer = self.server.service.handle(caller, body)
        except Dropped:
            self._drop()
            return
        if encrypted and context is not None:
            self._reply(status, sealed.sealed(context, answer), sealed.CONTENT_TYPE, tokens)
        else:
            self._reply(status, answer, SOAP, tokens)

    def _body(self) -> bytes | None:
        """Read the body; None when it was refused."""
        length = self.headers.get("Content-Length", "")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self._refuse(411)
            return None
        if int(length) > MOST_REQUEST:
            self._refuse(413)
            return None
        return self.rfile.read(int(length))

    def _refuse(self, status: int) -> None:
        self.close_connection = True
        self._reply(status)

    def _reply(self, status: int, body: bytes = b"", kind: str = "", authenticate: list[str] | None = None) -> None:
        self.send_response(status)
        for offer in authenticate or []:
            self.send_header("WWW-Authenticate", offer)
        if kind:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drop(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
