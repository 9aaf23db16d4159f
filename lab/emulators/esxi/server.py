"""The HTTPS front of the emulator on loopback: ``/sdk``, ``/sdk/vimServiceVersions.xml`` and ``/folder``."""

from __future__ import annotations

import base64
import binascii
import http.cookies
import logging
import socket
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

from lab.emulators.common.faults import Delay, Drop, Fail
from lab.emulators.common.front import Front, LoopbackServer
from lab.emulators.esxi import folder
from lab.emulators.esxi.emulator import Dropped, Emulator
from lab.emulators.esxi.wire import BadRequest

log = logging.getLogger(__name__)
COMMON_NAME = "emulated-esxi.localdomain"
COOKIE = "vmware_soap_session"
MOST_REQUEST = 4 << 20
MOST_FILE = 1 << 42
IDLE_SECONDS = 1900.0
HANDSHAKE_SECONDS = 10.0
OLDER = ("8.0.2.0", "8.0.1.0", "8.0.0.1", "7.0.3.0", "7.0", "6.9.1", "6.8.7", "6.7.3", "6.7", "6.5", "6.0")
VERSIONS = (
    '<?xml version="1.0" encoding="UTF-8"?><namespaces version="1.0"><namespace><name>urn:vim25</name>'
    "<version>8.0.3.0</version><priorVersions>"
    + "".join(f"<version>{version}</version>" for version in OLDER)
    + "</priorVersions></namespace></namespaces>"
).encode()


class EsxiServer(Front):
    """Serves one emulator, which is the caller's to close; its certificate and key are in ``home``."""

    def __init__(self, emulator: Emulator, home: Path, port: int = 0) -> None:
        self.emulator = emulator
        super().__init__(_Server(emulator, port), home, COMMON_NAME)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"https://127.0.0.1:{self.port}/sdk"


class _Server(LoopbackServer):
    def __init__(self, emulator: Emulator, port: int) -> None:
        self.emulator = emulator
        super().__init__(port, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16  # headers and body in one segment
    disable_nagle_algorithm = True
    timeout = HANDSHAKE_SECONDS
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.request.do_handshake()
        self.request.settimeout(IDLE_SECONDS)

    def do_GET(self) -> None:
        if self.path == "/sdk/vimServiceVersions.xml":
            self._reply(200, VERSIONS)
        else:
            self._guard(self._get)

    def do_HEAD(self) -> None:
        self._guard(self._get)

    def do_PUT(self) -> None:
        self._guard(self._put)

    def do_POST(self) -> None:
        if self.path.partition("?")[0].rstrip("/") != "/sdk":
            self._refuse(404, "there is only /sdk")
            return
        try:
            body = self._body()
            answer = self.server.emulator.handle(
                self._cookie(), self.headers.get("SOAPAction"), self.headers.get("User-Agent", ""), body
            )
        except BadRequest as error:
            self._refuse(400, str(error))
        except folder.Refused as error:
            self._refuse(error.status, str(error))
        except Dropped:
            self._drop()
        else:
            headers = {}
            if answer.cookie is not None:
                headers["Set-Cookie"] = f'{COOKIE}="{answer.cookie}"; Path=/; HttpOnly; Secure'
            self._reply(answer.status, answer.body, headers)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - overrides
        log.debug(format, *args)

    def _guard(self, work: Any) -> None:
        mishap = self.server.emulator.faults.take("/folder")
        if isinstance(mishap, Delay):
            self.server.emulator.wait(mishap.seconds)
        elif isinstance(mishap, Drop):
            self._drop()
            return
        try:
            if not self.path.startswith("/folder"):
                raise folder.Refused(404, "there are only /sdk and /folder")  # noqa: TRY301 - one answer for all
            self._require_login()
            if isinstance(mishap, Fail):
                raise folder.Refused(500, mishap.fault.msg or "injected")  # noqa: TRY301
            work()
        except folder.Refused as error:
            self._refuse(error.status, str(error))

    def _get(self) -> None:
        part = folder.part_of(self.server.emulator, self.path, self.headers.get("Range"))
        self.send_response(206 if part.partial else 200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(part.length))
        if part.partial:
            self.send_header("Content-Range", f"bytes {part.start}-{part.start + part.length - 1}/{part.size}")
        self.end_headers()
        if self.command == "HEAD":
            return
        with part.file.open("rb") as file:
            file.seek(part.start)
            left = part.length
            while left > 0 and (block := file.read(min(folder.BLOCK, left))):
                self.wfile.write(block)
                left -= len(block)

    def _put(self) -> None:
        length = self._length(MOST_FILE)
        folder.store(self.server.emulator, self.path, length, self.rfile.read)
        self._reply(201, b"")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunks()
        return self.rfile.read(self._length(MOST_REQUEST))

    def _length(self, most: int) -> int:
        text = self.headers.get("Content-Length", "")
        if not text.isdigit():
            raise folder.Refused(411, "Content-Length is missing")
        if int(text) > most:
            raise folder.Refused(413, f"{most} bytes are allowed at most")
        return int(text)

    def _chunks(self) -> bytes:
        """Read a chunked body: Go's clients send those."""
        found = b""
        while True:
            line = self.rfile.readline(64).split(b";")[0].strip()
            try:
                size = int(line, 16)
            except ValueError as error:
                raise folder.Refused(400, "a broken chunk") from error
            if not 0 <= size <= MOST_REQUEST - len(found):
                raise folder.Refused(413, f"{MOST_REQUEST} bytes are allowed at most")
            found += self.rfile.read(size)
            self.rfile.readline(64)
            if size == 0:
                return found

    def _cookie(self) -> str | None:
        jar: http.cookies.SimpleCookie = http.cookies.SimpleCookie()
        with suppress(http.cookies.CookieError):
            jar.load(self.headers.get("Cookie", ""))
        return jar[COOKIE].value if COOKIE in jar else None

    def _require_login(self) -> None:
        sessions = self.server.emulator.sessions
        session = sessions.of(self._cookie())
        if session.user:
            self._require_privilege(read_only=session.read_only)
            return
        scheme, _, text = self.headers.get("Authorization", "").partition(" ")
        with suppress(binascii.Error, UnicodeDecodeError):
            user, _, password = base64.b64decode(text, validate=True).decode().partition(":")
            account = sessions.account(user, password) if scheme.lower() == "basic" else None
            if account is not None:
                self._require_privilege(read_only=account.read_only)
                return
        raise folder.Refused(401, "log in first")

    def _require_privilege(self, *, read_only: bool) -> None:
        """The role "read-only" has no privilege on the files of a datastore, not even to read them."""
        if read_only:
            raise folder.Refused(403, "Permission to perform this operation was denied.")

    def _refuse(self, status: int, reason: str) -> None:
        headers = {"Connection": "close"}
        if status == http.HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = 'Basic realm="emulated ESXi"'
        self.close_connection = True
        self._reply(status, reason.encode(), headers)

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/xml; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _drop(self) -> None:
        self.close_connection = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
