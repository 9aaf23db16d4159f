"""A whole control plane on the loopback: real certificates and HTTPS; components and hosts are stand-ins."""

from __future__ import annotations

import asyncio
import queue
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from lab.defects.patience import patience
from lab.hypervisors.memory import MemoryHypervisor
from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Seen
from lab.hypervisors.protocols import HypervisorError
from lab.replication.common.config import Endpoint, ServiceConfig
from lab.replication.common.control import ControlClient, serve_commands
from lab.replication.common.identity import ensure_identity
from lab.replication.common.tls import client_context
from lab.replication.configuration_server.config import Deadlines, ServerConfig
from lab.replication.configuration_server.initialise import initialise
from lab.replication.configuration_server.server import ConfigurationServer
from lab.replication.fabric.config import Driver, FabricConfig
from lab.replication.fabric.discovery import Follower
from lab.replication.fabric.server import FabricServer
from lab.stacks.machines import MachineState
from lab.stacks.reference.client import ReferenceStack
from lab.waiting import Deadline

PASSPHRASE = "correct horse"
MACHINES = ("app1", "app2")
MIB = 1 << 20
PATIENCE = patience()
QUICK = Deadlines(
    delivery=1.0 * PATIENCE,
    boot=5 * PATIENCE,
    command=5 * PATIENCE,
    push_install=5 * PATIENCE,
    drain=5 * PATIENCE,
    roll=5 * PATIENCE,
    shutdown=5 * PATIENCE,
    fabric=10 * PATIENCE,
    last_point=0.3 * PATIENCE,
    silence=90,
    watch=0.1,
)
POLICY = {
    "recovery_point_interval_s": 15,
    "retention_s": 7200,
    "rpo_threshold_s": 60,
    "process_server_port": 9443,
    "master_target_port": 9444,
}
DISKS = [
    {"index": 0, "name": "system", "size": 1200 * MIB, "serial": "system"},
    {"index": 1, "name": "data", "size": 256 * MIB, "serial": "data"},
]
SETTINGS = {
    "policy": "standard",
    "process_server": {"name": "ps1", "address": "10.10.0.21"},
    "master_target": {"name": "mt1", "address": "10.30.0.31"},
    "recovery_fabric": "recovery",
    "primary_fabric": "primary",
    "failback": {
        "process_server": {"name": "ps1", "address": "10.30.0.21"},
        "master_target": {"name": "ps1", "address": "10.10.0.21"},
    },
    "disks": DISKS,
    "change_log": {"size": 64 * MIB, "serial": "changes"},
    "cpus": 1,
    "memory_mib": 384,
    "replica_nics": [
        {"network": "management", "mac": "52:54:00:00:00:01", "address": None},
        {
            "network": "recovery",
            "mac": "52:54:00:00:00:02",
            "address": "10.20.0.11",
            "prefix": 24,
            "routes": [{"to": "10.30.0.0/24", "via": "10.20.0.31"}],
        },
    ],
    "test_nics": [
        {"network": "management", "mac": "52:54:00:00:00:01", "address": None},
        {"network": "bubble", "mac": "52:54:00:00:00:03", "address": "10.20.0.11", "prefix": 24, "routes": []},
    ],
}


def settings_of(machine: str) -> dict:
    """The settings of a machine; each has cards of its own."""
    number = machine.removeprefix("app")
    cards = [
        [{**card, "mac": f"52:54:00:00:0{number}:{card['mac'][-2:]}"} for card in SETTINGS[key]]
        for key in ("replica_nics", "test_nics")
    ]
    return SETTINGS if machine == "app1" else {**SETTINGS, "replica_nics": cards[0], "test_nics": cards[1]}


class StandIn:
    """A component that registers, long-polls and answers as scripted; what it was told is in ``commands``."""

    def __init__(
        self, kind: str, name: str, server: Endpoint, ca_file: Path, folder: Path, *, system: dict | None = None
    ) -> None:
        self.kind, self.name = kind, name
        self.commands: list[tuple[str, dict]] = []
        self.answers: dict[str, Callable[[dict], dict]] = {}
        self._stop = threading.Event()
        identity = folder / f"{kind}-{name}"
        config = ServiceConfig(kind, name, server, identity, identity, ("127.0.0.1",), None, {})
        passphrase = folder / "stand-in-passphrase"
        passphrase.write_text(PASSPHRASE)
        ensure_identity(config, ca_file, passphrase, system)
        self.identity = identity
        self.client = ControlClient(server, client_context(identity))
        self._thread = threading.Thread(
            target=serve_commands, args=(self.client, _Handlers(self), self._stop), name=identity.name, daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self) -> None:
        self._thread.join(30)
        # ControlClient.close() leaves an idle connection to the end of the process; here there are many clients.
        for link in (self.client._poll, self.client._calls):
            link.close()

    def told(self, command: str) -> list[dict]:
        return [arguments for name, arguments in self.commands if name == command]

    def last(self, command: str) -> dict:
        return self.told(command)[-1]

    def names(self) -> list[str]:
        return [name for name, _ in self.commands]


class _Handlers(dict):
    """Every command has a handler: it records, and answers as scripted or with nothing."""

    def __init__(self, stand_in: StandIn) -> None:
        super().__init__()
        self._stand_in = stand_in

    def get(self, name, default=None):
        def handle(arguments: dict) -> dict:
            self._stand_in.commands.append((name, arguments))
            return self._stand_in.answers.get(name, lambda _: {})(arguments)

        return handle


class VmwareHost:
    """A vCenter, or a stand-alone host, that tells what a test puts into it; an error breaks it."""

    def __init__(self, *, vcenter: bool = True) -> None:
        self.vcenter = vcenter
        self.told: queue.Queue[list[Seen] | HypervisorError | None] = queue.Queue()

    def watch(self, deadline) -> Iterator[list[Seen]]:
        with suppress(queue.Empty):
            while (item := self.told.get(timeout=deadline.remaining)) is not None:
                if isinstance(item, HypervisorError):
                    raise item
                yield item

    def close(self) -> None:
        """Nothing is open."""


class World:
    """Two sites with fabrics, a configuration server, an operator, and stand-ins for all components."""

    def __init__(
        self, folder: Path, deadlines: Deadlines = QUICK, followers: dict[str, Follower] | None = None
    ) -> None:
        self.folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="control-plane", daemon=True)
        self._thread.start()
        self.config = _server_config(folder, deadlines)
        self.config.passphrase_file.write_text(PASSPHRASE + "\n")
        self.config = self.configured(self.config)
        initialise(self.config)
        self.hosts = {"primary": _primary_host(), "recovery": _recovery_host()}
        self.followers = followers or {}
        self.fabrics = {site: self._fabric(site) for site in self.hosts}
        endpoints = {site: Endpoint("127.0.0.1", fabric.port) for site, fabric in self.fabrics.items()}
        self.config = replace(self.config, fabrics=endpoints)
        self.before_start()
        self.server = self._start_server()
        self.config = replace(self.config, listen=Endpoint("127.0.0.1", self.server.port))
        self.stand_ins: list[StandIn] = []
        self.agents: dict[str, StandIn] = {}
        self.stack = ReferenceStack(
            f"https://127.0.0.1:{self.server.port}",
            "configuration-server.cs1.recovery",
            self.config.issued_dir,
            {name: settings_of(name) for name in MACHINES},
        )

    def configured(self, config: ServerConfig) -> ServerConfig:
        """What a world with more parts adds to the configuration."""
        return config

    def before_start(self) -> None:
        """What a world with more parts does here."""

    def run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def add(self, kind: str, name: str, system: dict | None = None) -> StandIn:
        stand_in = StandIn(kind, name, self.config.listen, self.config.ca_dir / "ca.pem", self.folder, system=system)
        self.stand_ins.append(stand_in)
        stand_in.start()
        return stand_in

    def add_components(self) -> None:
        self.agent = self.add("mobility", "app1")
        self.process_server = self.add("process-server", "ps1")
        self.master_target = self.add("master-target", "mt1")
        self.failback_target = self.add("master-target", "ps1")
        self.applied = 0
        for target in (self.master_target, self.failback_target):
            target.answers["copy-barrier"] = lambda _: {"applied": self.applied}
        self.process_server.answers["drain"] = lambda _: {"last_sequence": self.applied}

    def configure(self) -> None:
        self.stack.put_policy("standard", POLICY)
        self.stack.protect("app1")

    def stream(self, machine: str = "app1") -> str:
        return self.stack.machine(machine).attributes["stream"]

    def finish_copy(self, target: StandIn, machine: str = "app1") -> None:
        """What agent and master target report when the first copy is complete."""
        agent = self.agent if machine == "app1" else self.agents[machine]
        agent.client.event("initial-replication-complete", {}, machine=machine, stream=self.stream(machine))
        self.point(target, 1, machine=machine)

    def point(self, target: StandIn, sequence: int, age_s: float = 0, machine: str = "app1", **more) -> str:
        """Have the master target announce a recovery point that was cut ``age_s`` seconds ago."""
        end = time.time_ns() - int(age_s * 1e9)
        self.applied = sequence
        point = f"{self.stream(machine)}-{sequence}"
        cut = {"begin_ns": end - 1000, "end_ns": end, "time": "now"}
        data = {"recovery_point": point, "sequence": sequence, "cut": cut, **more}
        target.client.event("recovery-point", data, machine=machine, stream=self.stream(machine))
        return point

    def protected(self) -> None:
        self.add_components()
        self.configure()
        self.do("enable")
        self.finish_copy(self.master_target)
        self.wait(MachineState.PROTECTED)

    def protect_too(self, machine: str) -> None:
        """Protect a second machine."""
        self.agents[machine] = self.add("mobility", machine)
        self.stack.protect(machine)
        self.stack.run(machine, "enable", soon())
        self.finish_copy(self.master_target, machine)
        self.stack.wait_state(machine, MachineState.PROTECTED, deadline=soon())

    def do(self, operation: str, **arguments):
        return self.stack.run("app1", operation, soon(), arguments)

    def wait(self, state: MachineState):
        return self.stack.wait_state("app1", state, deadline=soon())

    def restart_server(self) -> None:
        self.run(self.server.close())
        self.server = self._start_server()

    def close(self) -> None:
        for stand_in in self.stand_ins:
            stand_in.stop()
        self.stack.close()
        self.run(self.server.close())
        for stand_in in self.stand_ins:
            stand_in.join()
        for fabric in self.fabrics.values():
            self.run(fabric.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
        shutil.rmtree(self.config.scripts_dir)

    def _start_server(self) -> ConfigurationServer:
        async def started() -> ConfigurationServer:
            server = ConfigurationServer(self.config)
            await server.start()
            return server

        return self.run(started())

    def _fabric(self, site: str) -> FabricServer:
        identity = fabric_identity(self.config.issued_dir, self.folder, site)
        config = FabricConfig(
            name=site,
            listen=Endpoint("127.0.0.1", 0),
            identity_dir=identity,
            driver=Driver("memory"),
            attach_targets=frozenset({"mt1", "mt2", "ps1", *MACHINES}),
            power_targets=frozenset(MACHINES),
        )

        async def started() -> FabricServer:
            server = FabricServer(config, self.hosts[site], self.followers.get(site))
            await server.start()
            return server

        return self.run(started())


def fabric_identity(issued: Path, folder: Path, site: str) -> Path:
    """Do what the installer does: give a fabric its certificate, its key and the authority."""
    identity = folder / f"fabric-{site}"
    identity.mkdir(exist_ok=True)
    for source, target in (
        ("ca.pem", "ca.pem"),
        (f"fabric-{site}.pem", "machine.pem"),
        (f"fabric-{site}.key", "machine.key"),
    ):
        (identity / target).write_bytes((issued / source).read_bytes())
    return identity


def soon() -> Deadline:
    return Deadline.after(20 * patience())


def _server_config(folder: Path, deadlines: Deadlines) -> ServerConfig:
    return ServerConfig(
        name="cs1",
        listen=Endpoint("127.0.0.1", 0),
        addresses=("127.0.0.1",),
        identity_dir=folder / "cs" / "identity",
        ca_dir=folder / "cs" / "ca",
        issued_dir=folder / "cs" / "issued",
        database=folder / "cs" / "control.db",
        passphrase_file=folder / "passphrase",
        fabrics={site: Endpoint("127.0.0.1", 0) for site in ("primary", "recovery")},
        operators=("qa",),
        deadlines=deadlines,
        scripts_dir=_scripts_folder(),
    )


def _scripts_folder() -> Path:
    """Outside of pytest's folders, which are private: scripts run without rights when the tests run as root."""
    folder = Path(tempfile.mkdtemp(prefix="recovery-scripts-"))
    folder.chmod(0o755)
    return folder


def _primary_host() -> MemoryHypervisor:
    host = MemoryHypervisor()
    for machine in MACHINES:
        attachments = []
        for disk in [*DISKS, {"name": "changes", "size": 64 * MIB, "serial": "changes"}]:
            name = DiskId(f"{machine}-{disk['name']}")
            host.create_disk(name, disk["size"])
            attachments.append(DiskAttachment(name, disk["serial"]))
        host.define(MachineSpec(machine, 1, 384, tuple(attachments), (), None))
    host.define(MachineSpec("ps1", 1, 512, (), (), None))
    for name in (*MACHINES, "ps1"):
        host.power_on(name)
    return host


def _recovery_host() -> MemoryHypervisor:
    host = MemoryHypervisor()
    host.define(MachineSpec("mt1", 1, 512, (), (), None))
    host.power_on("mt1")
    return host
