"""The process server as a component: its streams, its data port, its commands."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from lab.replication.common.config import ServiceConfig
from lab.replication.common.control import CommandFailed, Handler
from lab.replication.common.dataserver import STREAM, DataServer, Refused, Request, Response, Route
from lab.replication.common.durable import JSON, read_json, write_json
from lab.replication.common.inbox import Inbox
from lab.replication.common.ingest import receive
from lab.replication.common.outbox import Outbox
from lab.replication.common.storage_access import StorageAccess
from lab.replication.common.tls import client_context, server_context
from lab.replication.process_server.forwarding import Forwarder, MasterTargetForwarder, NotTaken
from lab.replication.process_server.push import push_install
from lab.replication.process_server.settings import StreamSettings
from lab.replication.process_server.statistics import Statistics
from lab.replication.process_server.storage import StorageForwarder
from lab.replication.process_server.stream import CACHE, CachedStream
from lab.waiting import Deadline

log = logging.getLogger(__name__)

DEFAULT_PORT = 9443
DEFAULT_QUOTA = 4 << 30
DRAIN_S = 600.0
COMPARE_S = 120.0
MAX_DIGESTS = 8 << 20
OK, FORBIDDEN, UNAVAILABLE = 200, 403, 503


class ProcessServer:
    """Forwards streams; ``cache_quota_bytes`` in its configuration bounds the cache."""

    def __init__(self, config: ServiceConfig, outbox: Outbox) -> None:
        self._outbox = outbox
        self._idle_port = config.data_port or DEFAULT_PORT
        self._quota = int(config.settings.get("cache_quota_bytes", DEFAULT_QUOTA))
        self._directory = config.state_dir / "streams"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._statistics = Statistics(config.state_dir / "statistics.jsonl")
        self._client_context = client_context(config.identity_dir)
        self._lock = threading.Lock()
        self._streams: dict[str, CachedStream] = {}
        self._server = DataServer(
            server_context(config.identity_dir, require_client=True),
            [
                Route("PUT", re.compile(STREAM + r"/(?P<sequence>\d+)"), self._put),
                Route("GET", re.compile(STREAM), self._status),
                Route("POST", re.compile(STREAM + "/compare"), self._compare),
                Route("GET", re.compile("/v1/statistics"), self._report),
            ],
        )

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands of the configuration server."""
        return {
            "push-install": push_install,
            "open-stream": self.open_stream,
            "seal-stream": self.seal_stream,
            "drain": self.drain,
            "close-stream": self.close_stream,
        }

    @property
    def slow_commands(self) -> frozenset[str]:
        """Installations and drains take minutes and belong to one machine each."""
        return frozenset({"push-install", "drain"})

    def start(self) -> None:
        """Load the streams that were open, and listen."""
        for directory in sorted(self._directory.iterdir()):
            stored = read_json(directory / "stream.json")
            if stored is not None:
                self._add(StreamSettings.from_json(stored))
        self._listen()

    def close(self) -> None:
        """Stop listening, then forwarding."""
        self._server.close()
        for stream in self._streams.values():
            stream.close()

    def open_stream(self, arguments: JSON) -> JSON:
        """Open a stream, or give an open one another port or target; its cache stays.

        A new signature for the storage it already goes to interrupts nothing.
        ``first`` is for a stream that comes from another process server: the number of its next document.
        """
        settings = StreamSettings.from_json(arguments)
        with self._lock:
            self._forget_earlier_stay(settings.stream, int(arguments.get("first") or 0))
            known = self._streams.get(settings.stream)
            if known is None or known.settings != settings:
                known = self._replace(known, settings)
            known.inbox.unseal()
        self._listen()
        return known.status()

    def _replace(self, known: CachedStream | None, settings: StreamSettings) -> CachedStream:
        directory = self._path(settings.stream)
        directory.mkdir(parents=True, exist_ok=True)
        # Only root may read it: it may hold a signature.
        write_json(directory / "stream.json", settings.to_json())
        renewed = settings.renewal_of(known.settings) if known is not None else None
        if known is not None and renewed is not None:
            known.renew(settings, renewed)
            return known
        if known is not None:
            known.close()
        return self._add(settings)

    def seal_stream(self, arguments: JSON) -> JSON:
        """Take in nothing new of a stream that moves to another process server; the agent keeps it meanwhile."""
        stream = self._streams.get(str(arguments["stream"]))
        if stream is None:
            raise CommandFailed("unknown-stream", f"no stream {arguments['stream']} is open here")
        stream.inbox.seal()
        return stream.status()

    def _forget_earlier_stay(self, stream: str, first: int) -> None:
        """Begin a stream that moves here at ``first``, unless it has moved here already."""
        known = self._streams.get(stream)
        if not first or (known is not None and known.inbox.received + 1 >= first):
            return
        if known is not None:
            self._streams.pop(stream).delete()
        Inbox.begin_at(self._path(stream) / CACHE, first)

    def drain(self, arguments: JSON) -> JSON:
        """Wait until everything cached is applied; ``timeout_s`` is optional."""
        stream = self._streams.get(str(arguments["stream"]))
        if stream is None:
            raise CommandFailed("unknown-stream", f"no stream {arguments['stream']} is open here")
        deadline = Deadline.after(float(arguments.get("timeout_s", DRAIN_S)))
        return {"last_sequence": stream.drain(deadline)}

    def close_stream(self, arguments: JSON) -> JSON:
        """Delete a stream and its cache; closing an unknown stream changes nothing."""
        name = str(arguments["stream"])
        with self._lock:
            stream = self._streams.pop(name, None)
        if stream is not None:
            stream.delete()
        self._listen()
        return {"stream": name}

    def _path(self, stream: str) -> Path:
        if not stream or "/" in stream or stream.startswith("."):
            raise CommandFailed("bad-stream", f"{stream!r} is not the id of a stream")
        return self._directory / stream

    def _add(self, settings: StreamSettings) -> CachedStream:
        forwarder = self._forwarder(settings)
        stream = CachedStream(
            self._path(settings.stream),
            settings,
            forwarder,
            statistics=self._statistics,
            noted=lambda problem: self._report_health(settings, forwarder.name, problem),
        )
        self._streams[settings.stream] = stream
        stream.start()
        return stream

    def _forwarder(self, settings: StreamSettings) -> Forwarder:
        if isinstance(settings.target, StorageAccess):
            return StorageForwarder(self._path(settings.stream), settings.target)
        return MasterTargetForwarder(settings.stream, settings.target, self._client_context)

    def _report_health(self, settings: StreamSettings, target: str, problem: str) -> None:
        data = {target: problem or "ok"}
        self._outbox.post("health", data, machine=settings.machine, stream=settings.stream)

    def _listen(self) -> None:
        self._server.listen_on({stream.settings.data_port for stream in self._streams.values()} or {self._idle_port})

    def _allowed(self, request: Request) -> CachedStream:
        stream = self._streams.get(request.parts["stream"])
        request.allow("mobility", name=stream.settings.machine if stream else None)
        if stream is None:
            log.warning("refused %s %s: no such stream", request.method, request.path)
            raise Refused(FORBIDDEN, "unknown-stream", "no such stream is open here")
        return stream

    def _put(self, request: Request) -> Response:
        stream = self._allowed(request)
        room = self._quota - sum(other.inbox.bytes_waiting for other in list(self._streams.values()))
        name, sequence = stream.settings.stream, int(request.parts["sequence"])
        return receive(request.body, stream.inbox, name, sequence, room, keep=partial(stream.keep, sequence))

    def _status(self, request: Request) -> Response:
        return Response(OK, self._allowed(request).status())

    def _compare(self, request: Request) -> Response:
        stream = self._allowed(request)
        digests = request.body.read(MAX_DIGESTS)
        try:
            reply = stream.compare(request.query_string, digests, Deadline.after(COMPARE_S))
        except (NotTaken, CommandFailed) as error:
            raise Refused(UNAVAILABLE, "target-behind", str(error)) from error
        return Response(reply.status, reply.body)

    def _report(self, request: Request) -> Response:
        request.allow("mobility", "operator")
        streams = {name: stream.status() for name, stream in list(self._streams.items())}
        return Response(OK, {"streams": streams, **self._statistics.to_json()})
