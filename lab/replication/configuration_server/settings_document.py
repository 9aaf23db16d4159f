"""The document of ``PUT /v1/machines/{name}``, read into ``Settings``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.parsing import Reader
from lab.replication.configuration_server.settings import (
    VMWARE,
    AzureSettings,
    Card,
    ChangeLog,
    Failback,
    HostSettings,
    ProtectedDisk,
    PublicCard,
    RecoveryHost,
    Server,
    Settings,
    SiteSettings,
)
from lab.replication.vault.setup import HYPER_V, SOURCES, WITH_AGENT

MIB = 1 << 20
MOST_DISKS = 16
MOST_BYTES = 1 << 44
SERIAL_LENGTH = 20
"""What a virtio disk can carry."""
MOST_CPUS = 256
MOST_NS = 1 << 62
LEAST_MEMORY_MIB = 64
MOST_MEMORY_MIB = 1 << 22


_KEYS = (
    "policy",
    "azure",
    "host",
    "recovery_host",
    "process_server",
    "master_target",
    "recovery_fabric",
    "primary_fabric",
    "failback",
    "disks",
    "change_log",
    "cpus",
    "memory_mib",
    "replica_nics",
    "test_nics",
    "failback_nics",
    "group",
    "push_install",
    "vmware",
    "switched_by_owner",
)


def never_smaller(document: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which no disk is smaller than it is known to be: one that has grown does not shrink again.

    Args:
        document: what was sent, already checked.
        known: what is stored.
    """
    sizes = {(disk["index"], disk["serial"]): int(disk["size"]) for disk in known["disks"]}
    disks = [
        {**disk, "size": max(int(disk["size"]), sizes.get((disk["index"], disk["serial"]), 0))}
        for disk in document["disks"]
    ]
    return {**document, "disks": disks}


def parse_settings(value: object) -> Settings:
    """Read the settings of a machine.

    Raises:
        BadRequest: they are not complete or not right; the message names the place.
    """
    reader = Reader.of(value, "settings")
    reader.only(*_KEYS)
    return Settings(
        policy=reader.name("policy"),
        carrier=_host(reader) if reader.has("host") else _server(reader, "process_server"),
        target=_target(reader),
        primary_fabric="" if reader.has("host") else reader.name("primary_fabric"),
        disks=_disks(reader.objects("disks")),
        cpus=reader.integer("cpus", 1, MOST_CPUS),
        memory_mib=reader.integer("memory_mib", LEAST_MEMORY_MIB, MOST_MEMORY_MIB),
        replica_nics=tuple(_card(item) for item in reader.objects("replica_nics")),
        test_nics=tuple(_card(item) for item in reader.objects("test_nics", default=True)),
        failback=_failback(reader.inner("failback")) if reader.has("failback") else None,
        failback_nics=tuple(_card(item) for item in reader.objects("failback_nics", default=True)),
        change_log=_change_log(reader.inner("change_log")) if reader.has("change_log") else None,
        group=reader.name("group") if reader.has("group") else None,
        push_install=dict(reader.inner("push_install").value) if reader.has("push_install") else None,
        vmware=reader.name("vmware") if reader.has("vmware") else None,
        switched_by_owner=reader.flag("switched_by_owner", default=False),
    )


def _server(reader: Reader, key: str) -> Server:
    if isinstance(reader.value.get(key), str):
        return Server(reader.name(key))
    inner = reader.inner(key)
    inner.only("name", "address")
    return Server(inner.name("name"), inner.address("address") if inner.has("address") else None)


_NOT_FROM_A_HOST = (
    *("process_server", "master_target", "recovery_fabric", "primary_fabric"),
    *("failback", "change_log", "push_install", "vmware", "switched_by_owner"),
)


def _host(reader: Reader) -> HostSettings:
    for key in _NOT_FROM_A_HOST:
        if reader.has(key):
            raise BadRequest(f"settings.{key}: has no meaning for a machine that is replicated from its 'host'")
    if reader.has("group"):
        raise BadRequest("settings.group: machines that are replicated from their host share no recovery points")
    if reader.has("azure") == reader.has("recovery_host"):
        raise BadRequest("settings: one of 'azure' and 'recovery_host' is expected with 'host'")
    inner = reader.inner("host")
    inner.only("name", "address", "guest", "start_at_ns", "system")
    start = inner.integer("start_at_ns", 0, MOST_NS) if inner.has("start_at_ns") else 0
    server = Server(inner.name("name"), inner.address("address") if inner.has("address") else None)
    guest = inner.text("guest") if inner.has("guest") else None
    return HostSettings(server, guest, start, _system(inner.inner("system")) if inner.has("system") else None)


def _system(reader: Reader) -> tuple[str, str]:
    reader.only("id", "version")
    return reader.text("id"), reader.text("version")


def _target(reader: Reader) -> SiteSettings | AzureSettings | RecoveryHost:
    if reader.has("recovery_host"):
        if not reader.has("host"):
            raise BadRequest("settings.recovery_host: is for a machine that is replicated from its 'host'")
        return RecoveryHost(_server(reader, "recovery_host"))
    if not reader.has("azure"):
        return SiteSettings(_server(reader, "master_target"), reader.name("recovery_fabric"))
    for key in ("master_target", "recovery_fabric"):
        if reader.has(key):
            raise BadRequest(f"settings.{key}: is for a secondary site; this machine goes to 'azure'")
    inner = reader.inner("azure")
    inner.only("server", "source", "public")
    source = inner.text("source")
    if source not in SOURCES:
        raise BadRequest(f"settings.azure.source: one of {', '.join(SOURCES)} is expected, not {source!r}")
    if reader.has("host") != (source == HYPER_V):
        raise BadRequest("settings.azure.source: 'hyper-v' goes with 'host', and nothing else does")
    if inner.has("public") and source != HYPER_V:
        raise BadRequest("settings.azure.public: is for 'hyper-v'; another machine has a card on that network")
    return AzureSettings(inner.name("server"), source, _public(inner.inner("public")) if inner.has("public") else None)


def _public(reader: Reader) -> PublicCard:
    reader.only("network", "address", "prefix")
    return PublicCard(reader.name("network"), reader.address("address"), reader.integer("prefix", 1, 32))


def _failback(reader: Reader) -> Failback:
    reader.only("process_server", "master_target", "to", "fabric")
    to = reader.text("to") if reader.has("to") else VMWARE
    if to not in WITH_AGENT:
        raise BadRequest(f"settings.failback.to: one of {', '.join(WITH_AGENT)} is expected, not {to!r}")
    fabric = reader.name("fabric") if reader.has("fabric") else None
    return Failback(_server(reader, "process_server"), _server(reader, "master_target"), to, fabric)


def _change_log(reader: Reader) -> ChangeLog:
    reader.only("size", "serial")
    return ChangeLog(_size(reader), _serial(reader))


def _disks(readers: Sequence[Reader]) -> tuple[ProtectedDisk, ...]:
    if not 1 <= len(readers) <= MOST_DISKS:
        raise BadRequest(f"settings.disks: 1 to {MOST_DISKS} disks are expected, not {len(readers)}")
    disks = tuple(_disk(reader) for reader in readers)
    if [disk.index for disk in disks] != list(range(len(disks))):
        raise BadRequest("settings.disks: indices have to be 0, 1, 2 and so on")
    for what, values in (("name", [d.name for d in disks]), ("serial", [d.serial for d in disks])):
        if len(set(values)) != len(values):
            raise BadRequest(f"settings.disks: every {what} has to be different")
    return disks


def _disk(reader: Reader) -> ProtectedDisk:
    reader.only("index", "name", "size", "serial")
    return ProtectedDisk(
        reader.integer("index", 0, MOST_DISKS - 1), reader.name("name"), _size(reader), _serial(reader)
    )


def _size(reader: Reader) -> int:
    size = reader.integer("size", MIB, MOST_BYTES)
    if size % 512:
        raise BadRequest(f"{reader.place}.size: a multiple of 512 is expected, not {size}")
    return size


def _serial(reader: Reader) -> str:
    serial = reader.name("serial")
    if len(serial) > SERIAL_LENGTH:
        raise BadRequest(f"{reader.place}.serial: at most {SERIAL_LENGTH} characters are expected, not {serial!r}")
    return serial


def _card(reader: Reader) -> Card:
    reader.only("network", "mac", "address", "prefix", "routes")
    addressed = reader.has("address")
    return Card(
        network=reader.name("network"),
        mac=reader.mac("mac"),
        address=reader.address("address") if addressed else None,
        prefix=reader.integer("prefix", 1, 128) if addressed else None,
        routes=tuple(_route(item) for item in reader.objects("routes", default=True)),
    )


def _route(reader: Reader) -> tuple[str, str]:
    reader.only("to", "via")
    return reader.network("to"), reader.address("via")
