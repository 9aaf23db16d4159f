"""Protected items and their machines: what the vault does for a configuration server. Blocking; any thread may call."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from ipaddress import IPv4Interface
from pathlib import Path
from typing import Any

from lab.hypervisors.protocols import NotFound
from lab.hypervisors.public import PublicAddress
from lab.replication.common.durable import JSON
from lab.replication.vault.compute import Compute, VmDisk, VmOrder, checked_name
from lab.replication.vault.ledger import Ledger
from lab.replication.vault.merger import Merger
from lab.replication.vault.settings import StreamSettings
from lab.replication.vault.storage import Storage
from lab.replication.vault.stream import MergedStream
from lab.waiting import Deadline

STREAM = re.compile(r"s-[0-9a-f]{16}\Z")
MACHINE_SOURCE_S = 7 * 24 * 3600.0
"""A machine reads its disks for as long as it runs; nobody else is given this signature."""
SOURCES_S = 300.0


class Items:
    """All streams that are open, their threads, and the machines made of them."""

    def __init__(
        self, directory: Path, storage: Storage, compute: Compute, ledger: Ledger, *, settle_s: float, access_s: float
    ) -> None:
        self._directory = directory
        self._storage = storage
        self._compute = compute
        self._ledger = ledger
        self._settle_s = settle_s
        self._access_s = access_s
        self._lock = threading.Lock()
        self._streams: dict[str, MergedStream] = {}

    def start(self) -> None:
        """Go on with what was open."""
        for document in self._ledger.items().values():
            if not document.get("closed"):
                self._add(StreamSettings.from_json(document))

    def close(self) -> None:
        """Stop all threads; what is open stays open."""
        for stream in self._streams.values():
            stream.close()

    def enable(self, value: JSON) -> JSON:
        """Open a stream, or give an open one another retention. Raises ValueError, StorageError."""
        settings = StreamSettings.from_json(value)
        if not STREAM.match(settings.stream):
            raise ValueError(f"{settings.stream!r} is not the id of a stream")
        with self._ledger.job("enable", settings.machine), self._lock:
            known = self._streams.pop(settings.stream, None)
            if known is not None:
                known.close()
            self._storage.open_stream(settings.stream)
            self._ledger.put_item(settings.stream, settings.machine, settings.to_json())
            return self._add(settings).status()

    def access(self, stream: str) -> JSON:
        """Return a new signature for the container of a stream. Raises NotFound, StorageError."""
        self.known(stream)
        return self._storage.access(stream, self._access_s).to_json()

    def known(self, stream: str) -> MergedStream:
        """Return an open stream. Raises NotFound."""
        found = self._streams.get(stream)
        if found is None:
            raise NotFound(f"no stream {stream} is open")
        return found

    def wait_merged(self, stream: str, sequence: int, seconds: float) -> JSON:
        """Wait until a document is merged and return the status. Raises NotFound, DeadlineExceeded."""
        found = self.known(stream)
        found.wait_merged(sequence, Deadline.after(seconds))
        return found.status()

    def forget_points(self, stream: str, keep: str | None) -> JSON:
        """Remove the other points (commit). Raises NotFound, StorageError."""
        found = self.known(stream)
        with self._ledger.job("commit", stream):
            found.forget_points(keep)
        return found.status()

    def disable(self, stream: str) -> JSON:
        """Close a stream. Its blobs go too, unless machines run on them: then with the last of those."""
        with self._ledger.job("disable", stream), self._lock:
            found = self._streams.pop(stream, None)
            used = stream in self._ledger.streams_in_use()
            if found is not None:
                found.delete(blobs=not used)
            if not used:
                self._ledger.drop_item(stream)
            elif stream in (items := self._ledger.items()):
                self._ledger.put_item(stream, items[stream]["machine"], {**items[stream], "closed": True})
        return {"stream": stream}

    def create_machine(self, value: JSON) -> JSON:
        """Make a machine of a recovery point and start it.

        Raises:
            ValueError, KeyError: the order is malformed.
            NotFound: no such stream or point.
            StorageError, HypervisorError, DeadlineExceeded: it could not be done.
        """
        name = checked_name(value.get("name"))
        stream, point = str(value["stream"]), str(value["recovery_point"])
        found = self.known(stream)
        with self._ledger.job(str(value.get("purpose", "failover")), name):
            # Pinned first: what the machine runs on must not be pruned from now on.
            self._ledger.put_machine(name, stream, point)
            try:
                sources = found.sources(point, MACHINE_SOURCE_S, Deadline.after(SOURCES_S))
                self._compute.create(_order(name, value, sources))
            except KeyError as error:
                self._ledger.drop_machine(name)
                raise NotFound(f"stream {stream} has no recovery point {point}") from error
            except Exception:
                self._ledger.drop_machine(name)
                raise
        return self.machine(name)

    def machine(self, name: str) -> JSON:
        """Return ``{state, disks, nics}``. Raises NotFound, HypervisorError."""
        state = self._compute.state(checked_name(name))
        if state is None:
            raise NotFound(f"machine {name} does not exist")
        return state

    def switch(self, name: str, action: object) -> JSON:
        """Switch a machine. Raises ValueError, NotFound, HypervisorError, DeadlineExceeded."""
        if action not in ("on", "off", "shutdown"):
            raise ValueError(f"action: on, off or shutdown is expected, not {action!r}")
        self._compute.switch(checked_name(name), str(action))
        return self.machine(name)

    def delete_machine(self, name: str) -> JSON:
        """Remove a machine with its disks, and what of a closed stream nobody needs any more."""
        with self._ledger.job("delete-machine", checked_name(name)), self._lock:
            self._compute.remove(name)
            self._ledger.drop_machine(name)
            for stream, document in self._ledger.items().items():
                if stream not in self._streams and stream not in self._ledger.streams_in_use():
                    for blob in StreamSettings.from_json(document).blobs.values():
                        self._storage.delete(blob)
                    self._ledger.drop_item(stream)
        return {"machine": name}

    def _add(self, settings: StreamSettings) -> MergedStream:
        directory = self._directory / settings.stream
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        merger = Merger(
            directory,
            settings,
            self._storage,
            lambda kind, data: self._ledger.add_event(kind, settings.machine, settings.stream, data),
            settle_s=self._settle_s,
            pinned=lambda: self._ledger.pinned(settings.stream),
        )
        stream = MergedStream(directory, merger, self._storage)
        self._streams[settings.stream] = stream
        stream.start()
        return stream


def _order(name: str, value: JSON, sources: Mapping[str, Any]) -> VmOrder:
    disks = [VmDisk(str(d["name"]), str(d["serial"]), int(d["size"]), sources[d["name"]]) for d in value["disks"]]
    log = value.get("change_log")
    if log is not None:
        disks.append(VmDisk("change-log", str(log["serial"]), int(log["size"]), None))
    cards = tuple((str(nic["network"]), str(nic["mac"])) for nic in value["nics"])
    cpus, memory_mib = int(value["cpus"]), int(value["memory_mib"])
    return VmOrder(name, cpus, memory_mib, tuple(disks), cards, value.get("management_mac"), _public(value))


def _public(value: JSON) -> PublicAddress | None:
    wanted = value.get("public")
    if wanted is None:
        return None
    public, private = (IPv4Interface(wanted[key]) for key in ("public", "private"))
    return PublicAddress(str(wanted["outside"]), public, str(wanted["inside"]), private)
