"""A whole data path on loopback: agent, process server and master target, each of which can be killed and restarted."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from capture_standin import Disks
from certificates import Authority
from control_standin import ControlStandIn

from lab.replication.common.config import Endpoint, ServiceConfig
from lab.replication.common.link import Link
from lab.replication.common.tls import client_context

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
MIB = 1 << 20
AGENT, PS, MT = "mobility-app1", "process-server-ps1", "master-target-mt1"
PS2, MT2 = "process-server-ps2", "master-target-mt2"
PROCESS_SERVER = "lab.replication.process_server"
MODULES = {
    AGENT: "lab.replication.mobility",
    PS: PROCESS_SERVER,
    PS2: PROCESS_SERVER,
    MT: "mt_service",
    MT2: "mt_service",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Stack:
    def __init__(self, directory: Path, authority: Authority, control: ControlStandIn) -> None:
        self.directory = directory
        self.authority = authority
        self.control = control
        self.ports = {PS: free_port(), PS2: free_port(), MT: free_port(), MT2: free_port()}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.disks = Disks(directory / "source")
        self.replicas = directory / "replicas"
        self.replicas.mkdir()
        self.stream = "app1-stream-1"
        self.settings: dict[str, Any] = {}
        self.links: list[Link] = []
        self.random = random.Random(1)

    def start(self, *components: str) -> None:
        for component in components:
            arguments = [sys.executable, "-m", MODULES[component], "--config", str(self._config(component))]
            if component == AGENT:
                arguments += ["--capture", "capture_standin:open_capture"]
            environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{HERE}"}
            with (self.directory / f"{component}.log").open("ab") as log:
                self.processes[component] = subprocess.Popen(
                    arguments, cwd=ROOT, env=environment, stdout=log, stderr=log
                )

    def kill(self, component: str, number: int = signal.SIGKILL) -> None:
        process = self.processes.pop(component)
        process.send_signal(number)
        process.wait(30)

    def close(self) -> None:
        for link in self.links:
            link.close()
        for component in list(self.processes):
            self.kill(component)

    def logs(self) -> str:
        return "\n".join(f"== {p.name}\n{p.read_text()[-6000:]}" for p in sorted(self.directory.glob("*.log")))

    def create(self, sizes: list[int], content: bytes = b"") -> None:
        self.disks.create(sizes, content)
        for index, size in enumerate(sizes):
            with self.replica(index).open("wb") as file:
                file.truncate(size)

    def replica(self, index: int) -> Path:
        return self.replicas / f"replica-{index}"

    def open_stream(self, **more: Any) -> None:
        self.open_at_master_target(fresh=True)
        self.open_at_process_server(PS, **more)

    def open_at_master_target(self, component: str = MT, **more: Any) -> None:
        disks = [
            {"index": i, "name": f"vd{'ab'[i]}", "serial": f"replica-{i}", "size": p.stat().st_size}
            for i, p in enumerate(self.disks.images())
        ]
        self.control.value(
            component,
            "open-stream",
            stream=self.stream,
            machine="app1",
            data_port=self.ports[component],
            disks=disks,
            retention_s=3600,
            **more,
        )

    def open_at_process_server(self, component: str, towards: str = MT, **more: Any) -> None:
        target = {"name": towards[-3:], "address": "127.0.0.1", "port": self.ports[towards]}
        port = self.ports[component]
        where = {"machine": "app1", "data_port": port, "master_target": target}
        self.control.value(component, "open-stream", stream=self.stream, **where, **more)

    def replicate(
        self,
        mode: str = "copy",
        interval_s: float = 0.7,
        over: str = PS,
        *,
        sized: bool = False,
        disks: list[dict[str, int]] | None = None,
    ) -> None:
        """``sized``: the order says how large the disks are; ``disks``: or how large it believes them to be."""
        if sized:
            disks = [{"index": i, "size": p.stat().st_size} for i, p in enumerate(self.disks.images())]
        self.control.value(
            AGENT,
            "start-replication",
            stream=self.stream,
            process_server={"name": over[-3:], "address": "127.0.0.1", "port": self.ports[over]},
            interval_s=interval_s,
            mode=mode,
            replica_networks=[],
            **({"disks": disks} if disks else {}),
        )

    def scribble(self, writes: int = 20) -> None:
        for _ in range(writes):
            index = self.random.randrange(len(self.disks.images()))
            size = self.disks.image(index).stat().st_size
            length = 512 * self.random.randint(1, 64)
            offset = 512 * self.random.randrange((size - length) // 512)
            data = bytes(length) if self.random.random() < 0.2 else self.random.randbytes(length)
            self.disks.write(index, offset, data)

    def cut(self) -> dict[str, Any]:
        return self.control.value(AGENT, "cut", stream=self.stream)

    def points(self) -> list[dict[str, Any]]:
        seen = {event["data"]["recovery_point"]: event["data"] for event in self.control.of("recovery-point")}
        return list(seen.values())

    def wait_point(self, cut: dict[str, Any], timeout: float = 60) -> None:
        with self.control._changed:
            assert self.control._changed.wait_for(
                lambda: any(p["recovery_point"] == cut["recovery_point"] for p in self.points()), timeout
            ), f"no {cut['recovery_point']}\n{self.logs()}"

    def check_point(self, point: dict[str, Any], at: str = MT) -> None:
        """Roll clones of the replica disks to a point and compare them with what the disks were at its cut."""
        count = len(self.disks.images())
        self.control.value(at, "copy-barrier", stream=self.stream, hold=True)
        for index in range(count):
            shutil.copyfile(self.replica(index), self.replicas / f"clone-{index}")
        self.control.value(at, "copy-barrier", stream=self.stream, hold=False)
        clones = [{"index": i, "serial": f"clone-{i}"} for i in range(count)]
        self.control.value(at, "roll", stream=self.stream, recovery_point=point["recovery_point"], disks=clones)
        for index in range(count):
            rolled = (self.replicas / f"clone-{index}").read_bytes()
            assert rolled == self.disks.oracle(point["cut"]["begin_ns"], index), point

    def link(self, kind: str, name: str, port: int) -> Link:
        identity = self.authority.issue(self.directory / f"id-{kind}-{name}", kind, name)
        self.links.append(Link(Endpoint("127.0.0.1", port), client_context(identity), timeout=20))
        return self.links[-1]

    def config_of(self, component: str) -> ServiceConfig:
        return ServiceConfig.from_json(json.loads(self._config(component).read_text()))

    def _config(self, component: str) -> Path:
        kind, _, name = component.rpartition("-")
        path = self.directory / f"{component}.json"
        identity = self.directory / f"{component}-identity"
        if not identity.exists():
            self.authority.issue(identity, kind, name)
        value = {
            "kind": kind,
            "name": name,
            "configuration_server": {"address": "127.0.0.1", "port": self.control.port},
            "identity_dir": str(identity),
            "state_dir": str(self.directory / f"{component}-state"),
            "addresses": ["127.0.0.1"],
            "data_port": self.ports.get(component),
            "spool_dir": str(self.directory / "spool"),
            "network_dir": str(self.directory / "network"),
            "standin_disks": str(self.disks.directory),
            "standin_replicas": str(self.replicas),
            **self.settings,
        }
        path.write_text(json.dumps(value))
        return path
