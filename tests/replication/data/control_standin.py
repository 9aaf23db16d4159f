"""Stand-in for the configuration server: the same REST calls, over TLS on loopback, with nothing behind them."""

from __future__ import annotations

import json
import ssl
import threading
from collections import defaultdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from certificates import Authority

from lab.replication.common.tls import peer_of, server_context

PASSPHRASE = "correct horse"


class Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, control: ControlStandIn, context: ssl.SSLContext) -> None:
        self.control = control
        self.context = context
        super().__init__(("127.0.0.1", 0), Handler)

    def finish_request(self, request, client_address):
        # In the connection's own thread, so that one bad handshake does not stop the others.
        try:
            request.settimeout(60)
            with self.context.wrap_socket(request, server_side=True) as secure:
                super().finish_request(secure, client_address)
        except OSError:
            pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, value: Any = None) -> None:
        body = b"" if value is None else json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def component(self) -> str:
        peer = peer_of(self.connection.getpeercert() or {})
        return f"{peer.kind}-{peer.name}"

    def do_GET(self) -> None:
        busy = parse_qs(urlsplit(self.path).query).get("busy", [""])[0]
        command = self.server.control.take(self.component(), set(busy.split(",")))
        if command is None:
            self.answer(204)
        else:
            self.answer(200, command)

    def do_POST(self) -> None:
        value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/v1/register":
            if value["passphrase"] != PASSPHRASE:
                self.answer(403, {})
                return
            signed = self.server.control.authority.sign(
                value["csr"].encode(), value["kind"], value["name"], value["addresses"]
            )
            self.answer(200, {"certificate": signed.decode(), "component_id": f"{value['kind']}-{value['name']}"})
        elif self.path == "/v1/events":
            self.server.control.add_event({**value, "component": self.component()})
            self.answer(200, {})
        else:
            self.server.control.finished(self.path.split("/")[3], value)
            self.answer(200, {})


class ControlStandIn:
    def __init__(self, authority: Authority, identity: Path) -> None:
        self.authority = authority
        self.events: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._waiting: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self._results: dict[str, dict[str, Any]] = {}
        self._number = 0
        self._server = Server(self, server_context(identity, require_client=False))
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def take(self, component: str, busy: set[str]) -> dict[str, Any] | None:
        """Return the oldest command without a result: delivered again to a component that was killed with it."""

        def ready() -> list[dict[str, Any]]:
            return [command for command in self._waiting[component] if command["id"] not in busy]

        with self._changed:
            self._changed.wait_for(ready, 1)
            return next(iter(ready()), None)

    def add_event(self, event: dict[str, Any]) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def finished(self, command: str, result: dict[str, Any]) -> None:
        with self._changed:
            self._results[command] = result
            for waiting in self._waiting.values():
                waiting[:] = [other for other in waiting if other["id"] != command]
            self._changed.notify_all()

    def order(self, component: str, name: str, timeout: float = 60, **arguments: Any) -> dict[str, Any]:
        """Give a command and return its result."""
        number = self.expect(component, name, **arguments)
        with self._changed:
            assert self._changed.wait_for(lambda: number in self._results, timeout), f"no result of {name}"
        return self._results[number]

    def expect(self, component: str, name: str, **arguments: Any) -> str:
        """Give a command and do not wait for its result."""
        with self._changed:
            self._number += 1
            number = str(self._number)
            self._waiting[component].append({"id": number, "name": name, "arguments": arguments})
            self._changed.notify_all()
        return number

    def value(self, component: str, name: str, **arguments: Any) -> dict[str, Any]:
        result = self.order(component, name, **arguments)
        assert result["ok"], result
        return result["value"]

    def wait_event(self, kind: str, count: int = 1, timeout: float = 60) -> list[dict[str, Any]]:
        with self._changed:
            found = self._changed.wait_for(lambda: len(self.of(kind)) >= count, timeout)
        assert found, f"{len(self.of(kind))} of {count} events {kind}: {[e['kind'] for e in self.events]}"
        return self.of(kind)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
