"""Two hosts with the real code of both ends of their data channel: hv1 sends, hv2 receives; disks are files."""

from __future__ import annotations

import http.client
import shutil
import threading
from pathlib import Path
from typing import Any

from certificates import Authority
from data_path import MIB, SOON_S, STREAM
from realm import NAME, Kdc
from stack import free_port

from lab.replication.common.config import Endpoint, ServiceConfig
from lab.replication.common.link import Link, Reply
from lab.replication.common.tls import KERBEROS, client_context, registration_context
from lab.replication.master_target.server import MasterTarget
from lab.replication.provider.order import HostOrder
from lab.replication.provider.outlets import HostOutlet
from lab.replication.provider.sender import Sender
from lab.replication.provider.tickets import Realm, TicketHolder, TicketReader
from lab.waiting import Deadline, wait_until

HOSTS = ("hv1", "hv2", "hv3")


class Heard:
    """Stands in for an outbox: keeps what is said of the link to the recovery host."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def post(self, kind: str, data: dict[str, Any], **_: Any) -> None:
        if kind == "health" and "recovery_host" in data:
            self.said.append(data["recovery_host"])

    def wait(self, words: str) -> str:
        return wait_until(
            lambda: next((each for each in self.said if words in each), None),
            Deadline.after(SOON_S), words, every=0.02, explain=lambda: str(self.said),
        )  # fmt: skip


class TicketHosts:
    """hv1 and hv2, which know one another; hv3 is a host of the realm that hv2 does not know."""

    def __init__(self, folder: Path, authority: Authority, kdc: Kdc) -> None:
        self.folder, self.authority, self.kdc = folder, authority, kdc
        self.port = free_port()
        self.heard = Heard()
        self.replica = folder / "replica"
        self.replica.write_bytes(bytes(MIB))
        for name in HOSTS:
            self.identity(name)
        self.keytabs = {name: kdc.keytab(f"host/{name}") for name in HOSTS}
        config = self.config("hv2")
        self.receiver = MasterTarget(
            config, self.heard, lambda _: self.replica, sender="provider", doorkeeper=TicketReader(self.realm("hv2"))
        )
        self.receiver.start()
        self._stop = threading.Event()
        self._open: list[Any] = []

    def open_stream(self, authentication: str = KERBEROS, sender: str = "hv1") -> None:
        disk = {"index": 0, "name": "vda", "serial": "replica", "size": MIB}
        self.receiver.open_stream(
            {
                "stream": STREAM, "machine": "app1", "data_port": self.port, "disks": [disk], "retention_s": 3600,
                "process_server": sender, "authentication": authentication, "fresh": True,
            }
        )  # fmt: skip

    def outlet(self, authentication: str = KERBEROS, keytab: Path | None = None) -> HostOutlet:
        """Return what hv1 sends with, as its provider makes it."""
        config = self.config("hv1", keytab=keytab)
        sender = Sender(config, self.heard, lambda *_: None)
        order = HostOrder.from_json(
            {
                "stream": STREAM, "machine": "app1", "disks": [{"index": 0, "serial": "vda"}], "interval_s": 30,
                "mode": "copy", "receiver": {"address": "127.0.0.1", "port": self.port},
                "authentication": authentication,
            }
        )  # fmt: skip
        outlet = sender._outlet(order, self._stop, lambda: False)
        self._open.append(outlet)
        return outlet

    def ask(self, introduction: Any = None, *, certificate: str | None = None) -> Reply:
        """Ask hv2 for the stream's status, with a ticket, a certificate, both or nothing."""
        context = registration_context(self.identity("hv1") / "ca.pem")
        if certificate is not None:
            context = client_context(self.identity(certificate))
        link = Link(Endpoint("127.0.0.1", self.port), context, SOON_S, introduction)
        self._open.append(link)
        return link.call("GET", f"/v1/streams/{STREAM}")

    def connected(self) -> http.client.HTTPSConnection:
        """Return a new connection to hv2 on which nothing was said yet."""
        context = registration_context(self.identity("hv1") / "ca.pem")
        connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=SOON_S)
        connection.connect()
        self._open.append(connection)
        return connection

    def holder(self, host: str = "hv1") -> TicketHolder:
        return TicketHolder(self.realm(host))

    def realm(self, host: str) -> Realm:
        found = Realm.of(self.config(host))
        assert found is not None
        return found

    def identity(self, name: str) -> Path:
        folder = self.folder / f"identity-{name}"
        return folder if folder.exists() else self.authority.issue(folder, "provider", name)

    def config(self, name: str, keytab: Path | None = None) -> ServiceConfig:
        peers = [other for other in ("hv1", "hv2") if other != name]
        return ServiceConfig.from_json(
            {
                "kind": "provider", "name": name, "configuration_server": {"address": "127.0.0.1", "port": 1},
                "identity_dir": str(self.identity(name)), "state_dir": str(self.folder / f"state-{name}"),
                "addresses": ["127.0.0.1"], "data_port": self.port, "retry_unit_s": 0.2,
                "kerberos": {"realm": NAME, "keytab": str(keytab or self.keytabs[name]), "peers": peers},
            }
        )  # fmt: skip

    def replace_keytab(self, path: Path, host: str) -> None:
        """Put the keys of a host where another file was, in one step."""
        new = path.with_suffix(".new")
        shutil.copyfile(self.keytabs[host], new)
        new.replace(path)

    def end(self) -> None:
        """End the outlets that there are, as another order does."""
        self._stop.set()
        self._stop = threading.Event()

    def close(self) -> None:
        self._stop.set()
        for each in self._open:
            each.close()
        self.receiver.close()
