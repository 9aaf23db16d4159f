"""The master target as a component: its streams, its data port, its commands."""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Mapping
from pathlib import Path

from lab.replication.common.config import ServiceConfig
from lab.replication.common.control import CommandFailed, Handler
from lab.replication.common.dataserver import STREAM, DataServer, Refused, Request, Response, Route
from lab.replication.common.durable import JSON, write_json
from lab.replication.common.inbox import Inbox
from lab.replication.common.ingest import receive
from lab.replication.common.introduction import Doorkeeper
from lab.replication.common.outbox import Outbox
from lab.replication.common.tls import CERTIFICATE, server_context
from lab.replication.master_target.devices import BadDevice, Device, OpenDevice, Resolver, found_disk, resolve_serial
from lab.replication.master_target.handover import read_archive
from lab.replication.master_target.settings import StreamSettings
from lab.replication.master_target.straight import receive_straight
from lab.replication.master_target.stream import SPOOL, ReplicaStream, load_settings

log = logging.getLogger(__name__)

DEFAULT_PORT = 9444
DEFAULT_QUOTA = 8 << 30
MAX_CHUNK = 4 << 20
MAX_DIGESTS = 8 << 20
OK, BAD_REQUEST, FORBIDDEN, UNAVAILABLE = 200, 400, 403, 503


class MasterTarget:
    """Applies streams to replica disks.

    ``spool_quota_bytes`` in its configuration bounds the spool, ``data_address`` is where it listens (everywhere).
    Only components of kind ``sender`` may send. With a ``doorkeeper`` streams can be opened whose sender shows no
    certificate.
    """

    def __init__(
        self,
        config: ServiceConfig,
        outbox: Outbox,
        resolve: Resolver = resolve_serial,
        *,
        sender: str = "process-server",
        open_device: OpenDevice = Device,
        doorkeeper: Doorkeeper | None = None,
    ) -> None:
        self._doorkeeper = doorkeeper
        self._outbox = outbox
        self._resolve = resolve
        self._sender = sender
        self._open_device = open_device
        self._idle_port = config.data_port or DEFAULT_PORT
        self._quota = int(config.settings.get("spool_quota_bytes", DEFAULT_QUOTA))
        self._directory = config.state_dir / "streams"
        self._directory.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._streams: dict[str, ReplicaStream] = {}
        self._server = DataServer(
            server_context(config.identity_dir, require_client=doorkeeper is None),
            [
                Route("PUT", re.compile(STREAM + r"/(?P<sequence>\d+)"), self._put),
                Route("GET", re.compile(STREAM), self._status),
                Route("POST", re.compile(STREAM + "/compare"), self._compare),
            ],
            str(config.settings.get("data_address", "")),
            doorkeeper,
        )

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands of the configuration server."""
        return {
            "open-stream": self.open_stream,
            "roll": self.roll,
            "hand-over-size": lambda a: {"bytes": self.known(a).hand_over_bytes()},
            "hand-over": self.hand_over,
            "take-over": self.take_over,
            "copy-barrier": lambda a: self.known(a).hold(hold=bool(a["hold"])),
            "forget-points": lambda a: self.known(a).forget_points(str(a["keep"])),
            "close-stream": self.close_stream,
        }

    @property
    def slow_commands(self) -> frozenset[str]:
        """Rolling a clone back takes long and touches nothing else; a hand-over has a disk of its own."""
        return frozenset({"roll", "hand-over", "take-over"})

    def start(self) -> None:
        """Load the streams that were open, and listen."""
        for directory in sorted(self._directory.iterdir()):
            settings = load_settings(directory)
            if settings is not None:
                self._add(settings)
        self._listen()

    def close(self) -> None:
        """Stop listening, then applying."""
        self._server.close()
        for stream in self._streams.values():
            stream.close()

    def open_stream(self, arguments: JSON) -> JSON:
        """Open a stream; ``fresh`` forgets what was stored under its name."""
        settings = StreamSettings.from_json(arguments)
        if settings.authentication != CERTIFICATE and self._doorkeeper is None:
            raise CommandFailed("not-supported", f"nobody here recognises callers by {settings.authentication}")
        with self._lock:
            known = self._streams.pop(settings.stream, None)
            if known is not None:
                known.close()
            directory = self._path(settings.stream)
            if arguments.get("fresh"):
                shutil.rmtree(directory, ignore_errors=True)
            directory.mkdir(parents=True, exist_ok=True)
            write_json(directory / "stream.json", settings.to_json())
            stream = self._add(settings)
        self._listen()
        return stream.status()

    def roll(self, arguments: JSON) -> JSON:
        """Turn disks or clones into a recovery point."""
        serials = {int(disk["index"]): str(disk["serial"]) for disk in arguments["disks"]}
        return self.known(arguments).roll(str(arguments["recovery_point"]), serials)

    def hand_over(self, arguments: JSON) -> JSON:
        """Write points and undo log of a stream to a disk, and let go of the replica disks; return ``write_archive``'s.

        The stream stays open here until it is closed: if nobody takes it over, it goes on.
        """
        return self.known(arguments).hand_over(found_disk(str(arguments["serial"]), self._resolve))

    def take_over(self, arguments: JSON) -> JSON:
        """Take a stream that comes from another master target, unless it is further here already.

        ``first`` is its next document; ``length`` and ``sha256`` say what is on the disk with ``serial``.
        """
        name, first = str(arguments["stream"]), int(arguments["first"])
        with self._lock:
            known = self._streams.get(name)
            if known is None or known.inbox.received + 1 < first:
                if known is not None:
                    self._streams.pop(name).delete()
                device = found_disk(str(arguments["serial"]), self._resolve)
                read_archive(device, self._path(name), int(arguments["length"]), str(arguments["sha256"]))
                Inbox.begin_at(self._path(name) / SPOOL, first)
        return {"stream": name}

    def close_stream(self, arguments: JSON) -> JSON:
        """Close the devices and delete what was stored; closing an unknown stream changes nothing."""
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

    def _add(self, settings: StreamSettings) -> ReplicaStream:
        stream = ReplicaStream(self._path(settings.stream), settings, self._resolve, self._outbox, self._open_device)
        self._streams[settings.stream] = stream
        stream.start()
        return stream

    def _listen(self) -> None:
        self._server.listen_on({stream.settings.data_port for stream in self._streams.values()} or {self._idle_port})

    def known(self, arguments: JSON) -> ReplicaStream:
        """Return the stream that a command is about. Raises CommandFailed."""
        stream = self._streams.get(str(arguments["stream"]))
        if stream is None:
            raise CommandFailed("unknown-stream", f"no stream {arguments['stream']} is open here")
        return stream

    def _allowed(self, request: Request) -> ReplicaStream:
        stream = self._streams.get(request.parts["stream"])
        request.allow(self._sender, name=stream.settings.process_server if stream else None)
        if stream is not None:
            request.require(stream.settings.authentication)
        if stream is None:
            log.warning("refused %s %s: no such stream", request.method, request.path)
            raise Refused(FORBIDDEN, "unknown-stream", "no such stream is open here")
        return stream

    def _put(self, request: Request) -> Response:
        stream = self._allowed(request)
        if stream.frozen:
            raise Refused(FORBIDDEN, "stream-rolled", "the disks of this stream were rolled to a recovery point")
        sequence = int(request.parts["sequence"])
        straight = receive_straight(request.body, stream, sequence)
        if straight is not None:
            return straight
        room = self._quota - sum(other.inbox.bytes_waiting for other in list(self._streams.values()))
        return receive(request.body, stream.inbox, stream.settings.stream, sequence, room)

    def _status(self, request: Request) -> Response:
        return Response(OK, self._allowed(request).status())

    def _compare(self, request: Request) -> Response:
        stream = self._allowed(request)
        digests = request.body.read(MAX_DIGESTS)
        try:
            disk, chunk, first = (int(request.query[key]) for key in ("disk", "chunk", "first"))
        except (KeyError, ValueError) as error:
            raise Refused(BAD_REQUEST, "bad-comparison", str(error)) from error
        if not 0 < chunk <= MAX_CHUNK or disk not in stream.settings.sizes:
            raise Refused(BAD_REQUEST, "bad-comparison", "chunk or disk is out of range")
        try:
            return Response(OK, {"differ": stream.compare(disk, chunk, first, digests)})
        except (BadDevice, TimeoutError) as error:
            raise Refused(UNAVAILABLE, "bad-device", str(error)) from error
