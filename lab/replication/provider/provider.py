"""The provider of a hypervisor host as a component.

Its configuration has ``hypervisor`` (``{uri, domain_type, image_folders, bridges}``), and may have ``data_port``
(without it this host receives nothing: to Azure everything goes out over 443), ``retry_unit_s``, ``shutdown_s``,
``work_dir`` (for sockets and scratch files of backups), ``kerberos`` (``tickets.py``) and quotas.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lab.replication.common.config import ServiceConfig
from lab.replication.common.control import Handler
from lab.replication.common.durable import JSON
from lab.replication.common.outbox import Outbox
from lab.replication.provider.guests import SHUTDOWN_S, Guests, LibvirtHost
from lab.replication.provider.images import ImageFolders
from lab.replication.provider.libvirt_machine import LibvirtMachine
from lab.replication.provider.local import LocalMachines
from lab.replication.provider.receiver import Receiver
from lab.replication.provider.sender import Sender
from lab.replication.provider.tracking import TrackedMachine

WORK = Path("/var/lib/recovery-provider")
IMAGES = ("/var/lib/libvirt/images",)


@dataclass(frozen=True)
class HypervisorSettings:
    """How the host's hypervisor is used; the first folder is where replica disks are made."""

    uri: str
    domain_type: str
    image_folders: tuple[Path, ...]
    bridges: Mapping[str, str]
    work_dir: Path

    @classmethod
    def of(cls, settings: JSON) -> HypervisorSettings:
        """Read the configuration's ``hypervisor`` and ``work_dir``."""
        value = settings.get("hypervisor") or {}
        return cls(
            uri=str(value.get("uri", "qemu:///system")),
            domain_type=str(value.get("domain_type", "kvm")),
            image_folders=tuple(Path(folder) for folder in value.get("image_folders", IMAGES)),
            bridges={str(name): str(bridge) for name, bridge in (value.get("bridges") or {}).items()},
            work_dir=Path(settings.get("work_dir", WORK)),
        )


class Provider:
    """Sends machines of this host, and receives those of another one when it has a data port."""

    def __init__(self, config: ServiceConfig, outbox: Outbox) -> None:
        settings = HypervisorSettings.of(config.settings)
        # QEMU's user enters it, and finds nothing but what is made for it.
        settings.work_dir.mkdir(parents=True, exist_ok=True)
        settings.work_dir.chmod(0o711)
        self._host = LibvirtHost(settings.uri)
        shutdown_s = float(config.settings.get("shutdown_s", SHUTDOWN_S))
        self._guests = Guests(self._host, settings.domain_type, settings.work_dir / "consoles", shutdown_s)
        self._work = settings.work_dir
        self._sender = Sender(config, outbox, self._track)
        folders = ImageFolders(settings.image_folders)
        self._local = LocalMachines(config, folders, self._guests, settings.bridges)
        receives = config.data_port is not None
        self._receiver = Receiver(config, outbox, folders, self._guests, self._local) if receives else None

    def handlers(self) -> Mapping[str, Handler]:
        """Return the commands of the orchestrator."""
        return {
            **self._local.handlers(),
            **(self._receiver.handlers() if self._receiver else {}),
            **self._sender.handlers(),
        }

    @property
    def slow_commands(self) -> frozenset[str]:
        """What takes long belongs to one machine each."""
        disks = ("roll", "seal-stream", "create-replica-disks", "pull-disks")
        return frozenset({"drain", "power", "start-machine", *disks})

    def start(self) -> None:
        """Receive, then send."""
        if self._receiver is not None:
            self._receiver.start()
        self._sender.start()

    def close(self) -> None:
        """End; durable state stays."""
        self._sender.close()
        if self._receiver is not None:
            self._receiver.close()
        self._host.close()

    def _track(self, machine: str, serials: Mapping[int, str]) -> TrackedMachine:
        return LibvirtMachine(self._host.connect, machine, serials, self._work / "moments")
