"""The receiving half of a provider: replica disks of machines of another host, their points, and machines of them.

Streams are applied, points kept and rolled by the master target's code (seed L167: data goes from host to host).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.replication.common.config import ServiceConfig
from lab.replication.common.control import CommandFailed, Handler
from lab.replication.common.durable import JSON
from lab.replication.common.outbox import Outbox
from lab.replication.master_target.server import MasterTarget
from lab.replication.master_target.stream import ReplicaStream
from lab.replication.provider.guests import Guests
from lab.replication.provider.images import ImageFolders
from lab.replication.provider.local import LocalMachines
from lab.replication.provider.qemu_nbd import ImageDisk
from lab.replication.provider.tickets import Realm, TicketReader
from lab.waiting import Deadline, wait_until

APPLY_S = 600.0
SENDER = "provider"


class Receiver:
    """Replicas on this host; ``local`` knows its images and machines."""

    def __init__(
        self, config: ServiceConfig, outbox: Outbox, folders: ImageFolders, guests: Guests, local: LocalMachines
    ) -> None:
        realm = Realm.of(config)
        self._target = MasterTarget(
            config,
            outbox,
            folders.find,
            sender=SENDER,
            open_device=ImageDisk,
            doorkeeper=TicketReader(realm) if realm is not None else None,
        )
        self._folders = folders
        self._guests = guests
        self._local = local

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands of the orchestrator; those of streams are a master target's."""
        streams = self._target.handlers()
        kept = ("open-stream", "roll", "copy-barrier", "forget-points", "close-stream")
        return {
            **{name: streams[name] for name in kept},
            "seal-stream": self.seal_stream,
            "start-machine": self.start_machine,
        }

    def start(self) -> None:
        """Go on with the streams of the last run, and listen."""
        self._target.start()

    def close(self) -> None:
        """Listen no more, and close all replica disks."""
        self._target.close()

    def seal_stream(self, arguments: JSON) -> JSON:
        """Take in nothing new of a stream, and return once what was received is applied."""
        stream = self._target.known(arguments)
        stream.inbox.seal()
        wait_until(lambda: not stream.inbox.waiting, Deadline.after(APPLY_S), "application of what was received")
        return stream.status()

    def start_machine(self, arguments: JSON) -> JSON:
        """Make a machine of copies of the replica disks, rolled to a recovery point, and switch it on.

        Raises:
            CommandFailed: there is no such stream, point or network, or the replica went on while it was copied.
        """
        copies = self._local.copies(arguments)
        guest = self._local.guest(arguments, copies)
        self._guests.remove(guest.name)
        stream = self._target.known(arguments)
        applied = self._copy_held(stream, arguments, copies)
        undone = stream.roll(str(arguments["recovery_point"]), {index: str(path) for index, path in copies.items()})
        self._guests.start(guest, paused=bool(arguments.get("paused")))
        return {"applied": applied, "undone": undone["undone"]}

    def _copy_held(self, stream: ReplicaStream, arguments: JSON, copies: Mapping[int, Path]) -> int:
        """Copy all replica disks at one document; replication goes on afterwards."""
        places = stream.settings.serials
        try:
            applied = int(stream.hold(hold=True)["applied"])
            for disk in arguments["disks"]:
                index = int(disk["index"])
                self._folders.duplicate(Path(places[index]), copies[index])
                # A barrier lifts itself after a while; held again before that, and the same number proves it.
                if int(stream.hold(hold=True)["applied"]) != applied:
                    raise CommandFailed("copy-torn", f"{stream.settings.stream} went on while its disks were copied")
        finally:
            stream.hold(hold=False)
        return applied
