"""Images and machines of this host, as far as no stream has to do with them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.replication.common.config import Endpoint, ServiceConfig
from lab.replication.common.control import CommandFailed, Handler
from lab.replication.common.durable import JSON
from lab.replication.common.link import Link
from lab.replication.common.tls import client_context
from lab.replication.provider.domains import Guest, GuestDisk, cards_of
from lab.replication.provider.guests import Guests
from lab.replication.provider.images import ImageFolders
from lab.replication.provider.pulling import Puller
from lab.replication.provider.qemu_nbd import ImageDisk
from lab.replication.support.facts import facts_of_this_machine

VAULT_S = 180.0


class LocalMachines:
    """``bridges`` says on which bridge a network of the orchestrator is."""

    def __init__(
        self, config: ServiceConfig, folders: ImageFolders, guests: Guests, bridges: Mapping[str, str]
    ) -> None:
        self._config = config
        self._folders = folders
        self._guests = guests
        self._bridges = bridges

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands of the orchestrator."""
        return {
            "create-replica-disks": self.create_replica_disks,
            "adopt-disks": self.adopt_disks,
            "retake-disks": self.retake_disks,
            "delete-replica-disks": self.delete_replica_disks,
            "remove-machine": self.remove_machine,
            "pull-disks": self.pull_disks,
            "start-guest": self.start_guest,
            "describe-host": lambda _: {"system": facts_of_this_machine().to_json()},
            "describe-machine": lambda a: self._guests.describe(str(a["machine"])),
            "power": lambda a: self._guests.power(str(a["machine"]), str(a["action"])),
        }

    def guest(self, arguments: JSON, places: Mapping[int, Path]) -> Guest:
        """Return the machine that a command wants, on disks at ``places``. Raises CommandFailed: no such network."""
        return Guest(
            name=str(arguments["guest"]),
            of=str(arguments["machine"]),
            purpose=str(arguments["purpose"]),
            cpus=int(arguments["cpus"]),
            memory_mib=int(arguments["memory_mib"]),
            disks=tuple(GuestDisk(places[int(d["index"])], str(d["serial"])) for d in arguments["disks"]),
            cards=cards_of(arguments["nics"], self._bridges),
        )

    def pull_disks(self, arguments: JSON) -> JSON:
        """Write what the vault has of a machine to disks of this host: ``compare`` or ``everything``.

        Raises:
            CommandFailed: a disk is not one that may be written, or the vault does not give it.
        """
        context = client_context(self._config.identity_dir)
        link = Link(Endpoint.from_json(arguments["vault"]), context, VAULT_S)
        puller = Puller(link, str(arguments["source"]))
        pull = puller.differences if arguments["mode"] == "compare" else puller.everything
        read = 0
        try:
            for disk in arguments["disks"]:
                place = self._folders.find(str(disk["place"]))
                if place is None:
                    raise CommandFailed("image-missing", f"{disk['place']} is no image that may be written here")
                device = ImageDisk(place, int(disk["size"]))
                try:
                    read += pull(str(disk["name"]), device, int(disk["size"]))
                finally:
                    device.close()
        finally:
            link.close()
        return {"bytes": read}

    def start_guest(self, arguments: JSON) -> JSON:
        """Make a machine on images of this host, and switch it on. Raises CommandFailed."""
        places = {int(d["index"]): self._folders.find(str(d["place"])) for d in arguments["disks"]}
        found = {index: place for index, place in places.items() if place is not None}
        if len(found) < len(places):
            raise CommandFailed("image-missing", "a disk of the machine is no image of this host")
        self._guests.start(self.guest(arguments, found))
        return {}

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
        copies = self.copies(arguments)
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

    def remove_machine(self, arguments: JSON) -> JSON:
        """Remove a machine that was made here, with its disks, as far as it is there."""
        self._guests.remove(str(arguments["guest"]))
        for path in self.copies(arguments).values():
            self._folders.delete(path)
        return {}

    def copies(self, arguments: JSON) -> dict[int, Path]:
        """Return where the disks of a machine are that is made of replica disks, by index."""
        name = str(arguments["guest"])
        return {int(disk["index"]): self._folders.copy(name, str(disk["name"])) for disk in arguments["disks"]}
