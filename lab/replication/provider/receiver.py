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
from lab.replication.provider.domains import Guest, GuestDisk, cards_of
from lab.replication.provider.guests import Guests
from lab.replication.provider.images import ImageFolders
from lab.replication.provider.qemu_nbd import ImageDisk
from lab.waiting import Deadline, wait_until

APPLY_S = 600.0
SENDER = "provider"


class Receiver:
    """Replicas on this host. ``bridges`` says on which bridge a network of the orchestrator is."""

    def __init__(
        self, config: ServiceConfig, outbox: Outbox, folders: ImageFolders, guests: Guests, bridges: Mapping[str, str]
    ) -> None:
        self._target = MasterTarget(config, outbox, folders.find, sender=SENDER, open_device=ImageDisk)
        self._folders = folders
        self._guests = guests
        self._bridges = bridges

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands of the orchestrator; those of streams are a master target's."""
        streams = self._target.handlers()
        kept = ("open-stream", "roll", "copy-barrier", "forget-points", "close-stream")
        return {
            **{name: streams[name] for name in kept},
            "seal-stream": self.seal_stream,
            "create-replica-disks": self.create_replica_disks,
            "adopt-disks": self.adopt_disks,
            "retake-disks": self.retake_disks,
            "delete-replica-disks": self.delete_replica_disks,
            "start-machine": self.start_machine,
            "remove-machine": self.remove_machine,
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

    def create_replica_disks(self, arguments: JSON) -> JSON:
        """Make empty replica disks; those of an earlier replication are replaced. Returns their places."""
        disks = []
        for disk in arguments["disks"]:
            path = self._folders.replica(str(arguments["machine"]), str(disk["name"]))
            self._folders.create(path, int(disk["size"]))
            disks.append({"index": int(disk["index"]), "place": str(path)})
        return {"disks": disks}

    def adopt_disks(self, arguments: JSON) -> JSON:
        """Return the places of the disks of a machine of this host that is off: they become the replica."""
        guest = str(arguments["guest"])
        found = self._guests.require_off(guest)
        places = {disk["serial"]: disk["path"] for disk in found["disks"]}
        missing = [disk["serial"] for disk in arguments["disks"] if disk["serial"] not in places]
        if missing:
            raise CommandFailed("disk-missing", f"{guest} has no disk with serial {', '.join(missing)}")
        return {"disks": [{"index": int(d["index"]), "place": places[d["serial"]]} for d in arguments["disks"]]}

    def retake_disks(self, arguments: JSON) -> JSON:
        """Make replica disks of the disks of a machine that was made here and is off; the machine itself goes."""
        copies = self._copies(arguments)
        disks = []
        if any(path.exists() for path in copies.values()):
            self._guests.require_off(str(arguments["guest"]))
            self._guests.remove(str(arguments["guest"]))
        for disk in arguments["disks"]:
            index = int(disk["index"])
            path = self._folders.replica(str(arguments["machine"]), str(disk["name"]))
            self._folders.rename(copies[index], path)
            disks.append({"index": index, "place": str(path)})
        return {"disks": disks}

    def delete_replica_disks(self, arguments: JSON) -> JSON:
        """Delete replica disks, as far as they are there."""
        for disk in arguments["disks"]:
            self._folders.delete(self._folders.replica(str(arguments["machine"]), str(disk["name"])))
        return {}

    def start_machine(self, arguments: JSON) -> JSON:
        """Make a machine of copies of the replica disks, rolled to a recovery point, and switch it on.

        Raises:
            CommandFailed: there is no such stream, point or network, or the replica went on while it was copied.
        """
        cards = cards_of(arguments["nics"], self._bridges)
        copies = self._copies(arguments)
        guest = Guest(
            name=str(arguments["guest"]),
            of=str(arguments["machine"]),
            purpose=str(arguments["purpose"]),
            cpus=int(arguments["cpus"]),
            memory_mib=int(arguments["memory_mib"]),
            disks=tuple(GuestDisk(copies[int(d["index"])], str(d["serial"])) for d in arguments["disks"]),
            cards=cards,
        )
        self._guests.remove(guest.name)
        stream = self._target.known(arguments)
        applied = self._copy_held(stream, arguments, copies)
        undone = stream.roll(str(arguments["recovery_point"]), {index: str(path) for index, path in copies.items()})
        self._guests.start(guest, paused=bool(arguments.get("paused")))
        return {"applied": applied, "undone": undone["undone"]}

    def remove_machine(self, arguments: JSON) -> JSON:
        """Remove a machine that was made here, with its disks, as far as it is there."""
        self._guests.remove(str(arguments["guest"]))
        for path in self._copies(arguments).values():
            self._folders.delete(path)
        return {}

    def _copies(self, arguments: JSON) -> dict[int, Path]:
        name = str(arguments["guest"])
        return {int(disk["index"]): self._folders.copy(name, str(disk["name"])) for disk in arguments["disks"]}

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
