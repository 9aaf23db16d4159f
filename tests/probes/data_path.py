"""An agent, a process server and a master target in this process, with real TLS between them."""

from __future__ import annotations

import io
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from capture_standin import Disks, FileCapture
from certificates import Authority
from stack import MT, PS, Stack

from lab.defects.patience import patience
from lab.replication import changeset as cs
from lab.replication.common.config import Endpoint
from lab.replication.common.link import Body, Link, Reply
from lab.replication.common.tls import client_context
from lab.replication.document import DocumentReader, DocumentWriter
from lab.replication.master_target.server import MasterTarget
from lab.replication.mobility.capture import CapturedDisk, Cut
from lab.replication.mobility.replicator import Replicator
from lab.replication.mobility.session import COPY, Order, Session, SessionFile
from lab.replication.process_server.server import ProcessServer
from lab.waiting import Deadline, wait_until

MIB = 1 << 20
STREAM = "app1-stream-1"
SOON_S = 30.0 * patience()
NEVER_S = 3600.0


class Heard:
    """Stands in for the outboxes of all components: keeps what they report, in order."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._changed = threading.Condition()
        self.watchers: list[Callable[[str], None]] = []

    def post(self, kind: str, data: dict[str, Any], **_: Any) -> None:
        for watcher in self.watchers:
            watcher(kind)
        with self._changed:
            self.events.append((kind, data))
            self._changed.notify_all()

    def wait_delivered(self, _: Deadline) -> None:
        """Everything is delivered at once."""

    def of(self, kind: str) -> list[dict[str, Any]]:
        with self._changed:
            return [data for name, data in self.events if name == kind]

    def wait(self, kind: str, count: int = 1, seconds: float = SOON_S) -> list[dict[str, Any]]:
        wait_until(lambda: len(self.of(kind)) >= count, Deadline.after(seconds), f"{count} of {kind}", every=0.02)
        return self.of(kind)


class BusyCapture(FileCapture):
    """A machine that goes on writing: right after a cut, before its changes are read."""

    def __init__(self, disks: Disks, busy: Callable[[], None]) -> None:
        super().__init__(disks)
        self._busy = busy

    def drain(self, cut: Cut, disk: CapturedDisk) -> Iterator[tuple[int, bytes]]:
        changes = list(super().drain(cut, disk))
        self._busy()
        yield from changes


class Path3:
    """The three components and the disks of one machine; what is started is stopped by ``close``."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.stack = Stack(folder, authority, SimpleNamespace(port=1))
        self.stack.stream = STREAM
        self.heard = Heard()
        self.mt: MasterTarget | None = None
        self.ps: ProcessServer | None = None
        self.agent: Replicator | None = None
        self.busy: Callable[[], None] = lambda: None

    def create(self, sizes: list[int], content: bytes = b"") -> None:
        self.stack.create(sizes, content)

    def start_mt(self, **more: Any) -> MasterTarget:
        places = self.stack.replicas
        self.mt = MasterTarget(self.stack.config_of(MT), self.heard, lambda serial: places / serial, **more)
        self.mt.start()
        return self.mt

    def start_ps(self) -> ProcessServer:
        self.ps = ProcessServer(self.stack.config_of(PS), self.heard)
        self.ps.start()
        return self.ps

    def open_mt(self, **more: Any) -> None:
        disks = [
            {"index": i, "name": f"vd{'ab'[i]}", "serial": f"replica-{i}", "size": path.stat().st_size}
            for i, path in enumerate(self.stack.disks.images())
        ]
        settings = {"stream": STREAM, "machine": "app1", "data_port": self.stack.ports[MT], "disks": disks}
        self.mt.open_stream({**settings, "retention_s": 3600, "process_server": "ps1", **more})

    def open_ps(self, port: int | None = None, **more: Any) -> None:
        target = {"name": "mt1", "address": "127.0.0.1", "port": self.stack.ports[MT]}
        port = port or self.stack.ports[PS]
        self.ps.open_stream({"stream": STREAM, "machine": "app1", "data_port": port, "master_target": target, **more})

    def servers(self) -> Path3:
        self.start_mt()
        self.start_ps()
        self.open_mt()
        self.open_ps()
        return self

    def start_agent(
        self,
        session: Session | None = None,
        *,
        interval_s: float = NEVER_S,
        quota: int = 64 * MIB,
        port: int | None = None,
    ) -> Replicator:
        """Begin to replicate; without a ``session`` from the start."""
        folder = self.stack.directory / "agent"
        identity = self.identity("mobility", "app1")
        order = Order(STREAM, Endpoint("127.0.0.1", port or self.stack.ports[PS]), interval_s, COPY)
        self.session = SessionFile(self.stack.directory / "session.json", session or Session(order, COPY))
        self.agent = Replicator(
            BusyCapture(self.stack.disks, lambda: self.busy()),  # noqa: PLW0108 - a probe may change it later
            self.session,
            machine="app1",
            spool=folder,
            quota=quota,
            context=client_context(identity),
            outbox=self.heard,
        )
        self.agent.start()
        return self.agent

    def identity(self, kind: str, name: str) -> Path:
        folder = self.stack.directory / f"identity-{kind}-{name}"
        return folder if folder.exists() else self.stack.authority.issue(folder, kind, name)

    def replicate(self) -> Path3:
        """Copy the disks and wait for the first recovery point."""
        self.start_agent()
        self.heard.wait("initial-replication-complete")
        self.heard.wait("recovery-point")
        return self

    def cut(self) -> dict[str, Any]:
        return self.agent.cut()

    def wait_point(self, cut: dict[str, Any]) -> dict[str, Any]:
        name = cut["recovery_point"]

        def found() -> dict[str, Any] | None:
            return next((point for point in self.heard.of("recovery-point") if point["recovery_point"] == name), None)

        return wait_until(found, Deadline.after(SOON_S), f"recovery point {name}", every=0.02)

    def image(self, point: dict[str, Any]) -> list[bytes]:
        """Return the disks at a recovery point, rolled back on copies."""
        count = len(self.stack.disks.images())
        self.hold(hold=True)
        for index in range(count):
            clone = self.stack.replicas / f"clone-{index}"
            clone.write_bytes(self.stack.replica(index).read_bytes())
        self.hold(hold=False)
        clones = [{"index": index, "serial": f"clone-{index}"} for index in range(count)]
        self.mt.roll({"stream": STREAM, "recovery_point": point["recovery_point"], "disks": clones})
        return [(self.stack.replicas / f"clone-{index}").read_bytes() for index in range(count)]

    def oracle(self, point: dict[str, Any]) -> list[bytes]:
        """Return the disks as the oracle has them: what they were at the cut that the point claims."""
        count = len(self.stack.disks.images())
        return [self.stack.disks.oracle(point["cut"]["begin_ns"], index) for index in range(count)]

    def sound(self, point: dict[str, Any]) -> bool:
        return self.image(point) == self.oracle(point)

    def link(self, kind: str, name: str, port: int, context: ssl.SSLContext | None = None) -> Link:
        if context is None:
            return self.stack.link(kind, name, port)
        link = Link(Endpoint("127.0.0.1", port), context, SOON_S)
        self.stack.links.append(link)
        return link

    def hold(self, *, hold: bool) -> None:
        """Stop applying at the master target, or let it go on at once."""
        self.mt.handlers()["copy-barrier"]({"stream": STREAM, "hold": hold})
        self.mt._streams[STREAM]._wake.set()

    def stop_agent(self) -> None:
        if self.agent is not None:
            self.agent.close()
            self.agent = None

    def stop_ps(self) -> None:
        if self.ps is not None:
            self.ps.close()
            self.ps = None

    def stop_mt(self) -> None:
        if self.mt is not None:
            self.mt.close()
            self.mt = None

    def close(self) -> None:
        self.stop_agent()
        self.stop_ps()
        self.stop_mt()
        self.stack.close()


def document(sequence: int, writes=(), *, kind: str = "delta", begin_ns: int = 1 << 62, **more: Any) -> bytes:
    """Return a document for a machine with one disk of a MiB."""
    sink = io.BytesIO()
    cut = cs.CutTime(begin_ns, begin_ns, "then") if kind == "delta" else None
    point = f"{STREAM}-{sequence}" if kind == "delta" else None
    writer = DocumentWriter(
        sink, cs.Head(STREAM, sequence, kind, "app1", (cs.Disk(0, "vda", MIB),), cut, point, **more)
    )
    for offset, data in writes:
        writer.add(cs.data_frame(0, offset, data))
    writer.end()
    return sink.getvalue()


def put(link: Link, sequence: int, data: bytes) -> Reply:
    return link.send("PUT", f"/v1/streams/{STREAM}/{sequence}", Body(lambda: [data] if data else [], len(data)))


def heads(folder: Path) -> list[cs.Head]:
    """Return the heads of documents that wait in a cache."""
    found = []
    for path in sorted(folder.glob("*.doc")):
        with path.open("rb") as source:
            found.append(DocumentReader(source).head)
    return found


@contextmanager
def stranger(folder: Path) -> Iterator[int]:
    """Answer HTTPS requests with 200 and an empty object, with a certificate of an authority that nobody knows."""
    identity = Authority().issue(folder / "stranger", "process-server", "ps1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(identity / "machine.pem", identity / "machine.key")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    _answer(listener.accept()[0], context)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(SOON_S)


def _answer(plain: socket.socket, context: ssl.SSLContext) -> None:
    plain.settimeout(SOON_S)
    with plain, suppress(OSError), context.wrap_socket(plain, server_side=True) as secure:
        secure.recv(4096)
        secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}")


def settled(seconds: float) -> None:
    """Give something that must not happen the time to happen, in seconds of an idle computer."""
    pause = threading.Event()
    end = time.monotonic() + seconds * patience()
    while (left := end - time.monotonic()) > 0:
        pause.wait(left)
