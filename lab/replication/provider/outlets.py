"""Where a host sends: to the receiver of another host (mutual TLS), or to Azure storage over 443 by itself."""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from lab.replication.changeset import Buffer
from lab.replication.common.ahead import ahead
from lab.replication.common.arriving import Arriving
from lab.replication.common.config import Endpoint
from lab.replication.common.inbox import Gap
from lab.replication.common.introduction import Introduction
from lab.replication.common.link import Body, Reply, Unreachable, stream_path
from lab.replication.common.optimised import Optimised
from lab.replication.common.storage_access import StorageAccess
from lab.replication.digests import DIGEST_SIZE
from lab.replication.mobility.uplink import Interrupted, Outlet, Uplink, UploadRejected
from lab.replication.process_server.settings import StreamSettings
from lab.replication.process_server.statistics import Statistics
from lab.replication.process_server.storage import StorageForwarder
from lab.replication.process_server.stream import CachedStream
from lab.replication.provider.retry import GivenUp, RetryPauses, is_recoverable

HTTP_FORBIDDEN = 403
LOOK_S = 0.25
Interruption = Callable[[], bool]


class HostOutlet(Outlet, Protocol):
    """An outlet that can also be asked without waiting."""

    def has(self, sequence: int) -> bool:
        """Return whether a document is part of the replica (or kept by the vault); False when nobody answers."""

    def delete(self) -> None:
        """Close, and forget what was prepared here."""


class ReceiverUplink(Uplink):
    """The receiver of another host; documents are compressed on the way."""

    server = "recovery host"
    kept = "applied"

    def __init__(
        self,
        endpoint: Endpoint,
        context: ssl.SSLContext,
        stream: str,
        stop: threading.Event,
        *,
        interrupted: Interruption,
        noted: Callable[[str], None],
        retry_unit_s: float,
        introduction: Introduction | None = None,
    ) -> None:
        super().__init__(
            endpoint, context, stream, stop, interrupted=interrupted, noted=noted, introduction=introduction
        )
        # What the last one said, of another order or before a restart, is not known: the first success is told too.
        self._problem = None
        self._stopping = stop
        self._retry_unit_s = retry_unit_s
        self._name = stream
        self.wire_bytes = 0

    def put(self, sequence: int, body: Body) -> None:
        """Send a document, compressed. Raises Interrupted, UploadRejected, GivenUp."""
        document = Optimised(lambda: Arriving(iter(body.parts())))
        super().put(sequence, Body(lambda: _produced_ahead(document), None))
        self.wire_bytes += document.wire_bytes

    def has(self, sequence: int) -> bool:
        """Return whether the receiver has applied a document."""
        try:
            reply = self._link.call("GET", stream_path(self._name))
        except Unreachable:
            return False
        return reply.created_or_known and int(reply.json[self.kept]) >= sequence

    def delete(self) -> None:
        """Close the connection."""
        self.close()

    def _pauses(self) -> RetryPauses:
        return RetryPauses(self._stopping, self._retry_unit_s)

    def _judge_silence(self, error: Unreachable) -> None:
        if not is_recoverable(error):
            raise GivenUp(str(error)) from error

    def _judge(self, method: str, reply: Reply) -> None:
        if reply.status == HTTP_FORBIDDEN:
            raise GivenUp(f"the recovery host refuses stream {self._name}: {reply.json.get('error')}")
        super()._judge(method, reply)


def _produced_ahead(document: Optimised) -> Iterator[Buffer]:
    with ahead(document.parts()) as pieces:
        yield from pieces


class StorageOutlet:
    """The Recovery Services agent: documents wait in ``directory`` until the vault keeps them (decision 0011)."""

    def __init__(
        self,
        directory: Path,
        access: StorageAccess,
        stream: str,
        machine: str,
        stop: threading.Event,
        *,
        quota: int,
        interrupted: Interruption,
        noted: Callable[[str], None],
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._settings = StreamSettings(stream, machine, 0, access)
        self._stop = stop
        self._quota = quota
        self._interrupted = interrupted
        statistics = Statistics(directory / "statistics.jsonl")
        self._cached = CachedStream(
            directory, self._settings, StorageForwarder(directory, access), statistics=statistics, noted=noted
        )
        self._cached.start()

    def expected(self) -> int:
        """Return the number of the document that comes next."""
        return self._cached.inbox.received + 1

    def put(self, sequence: int, body: Body) -> None:
        """Keep a document durably; it is uploaded by a thread of its own. Raises UploadRejected, Interrupted."""
        inbox = self._cached.inbox
        while inbox.bytes_waiting > self._quota:
            self._pause()
        part = inbox.part()
        try:
            if inbox.known(sequence):
                return
            with part.open("wb", buffering=0) as file:
                for piece in body.parts():
                    file.write(piece)
                os.fsync(file.fileno())
            inbox.admit(part, sequence)
        except Gap as error:
            raise UploadRejected(str(error)) from error
        finally:
            part.unlink(missing_ok=True)

    def differing(self, disk: int, chunk: int, first: int, digests: Buffer) -> list[int]:
        """Return that every chunk differs: nobody but the vault can read the replica (decision 0011)."""
        del disk, chunk
        return list(range(first, first + len(digests) // DIGEST_SIZE))

    def wait_forwarded(self, sequence: int) -> None:
        """Wait until the vault keeps everything up to ``sequence``. Raises Interrupted."""
        while not self.has(sequence):
            self._pause()

    def has(self, sequence: int) -> bool:
        """Return whether the vault keeps a document."""
        return self._cached.inbox.done >= sequence

    def renew(self, access: StorageAccess) -> None:
        """Use a new signature for the same container."""
        self._cached.renew(self._settings, access)

    def abort(self) -> None:
        """Nothing to do: ``put`` waits for nobody else, and ``close`` stops the upload."""

    def close(self) -> None:
        """Stop uploading; what waits stays."""
        self._cached.close()

    def delete(self) -> None:
        """Stop, and delete what waits."""
        self._cached.delete()

    def _pause(self) -> None:
        if self._stop.wait(LOOK_S) or self._interrupted():
            raise Interrupted
