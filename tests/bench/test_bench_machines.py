"""Bare machines: the command line, and that nothing of them stays. No machine is started here."""

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from lab.bench import bare
from lab.bench.bare import BareDisk, BareMachine, qemu_command, started, wait_login
from lab.bench.by_hand import prepare
from lab.errors import LabError
from lab.hypervisors.model import Endpoint
from lab.hypervisors.translated import PROCESSOR
from lab.images.cache import Image
from lab.machines.ssh import Login, SshTransport
from lab.topology.load import load_topology
from lab.waiting import Deadline

EMBEDDED = Path(__file__).parents[2] / "topologies" / "embedded.yaml"


def machine(folder: Path, name: str = "app1") -> BareMachine:
    return BareMachine(
        name=name,
        cpus=2,
        memory_mib=384,
        disks=(
            BareDisk(folder / "system, really.img", "qcow2", "system"),
            BareDisk(folder / "seed.iso", "raw", "lab-seed", read_only=True),
        ),
        mac="52:54:00:01:02:03",
        ssh=SshTransport(name, Endpoint("127.0.0.1", 9), Login("root", folder / "key", "ssh-ed25519 AAAA")),
        console=folder / f"{name}.console",
    )


def after(command: list[str], option: str) -> list[str]:
    return [value for word, value in pairwise(command) if word == option]


@pytest.mark.parametrize(("mode", "accel", "cpu"), [("tcg", "tcg,tb-size=256", PROCESSOR), ("kvm", "kvm", "host")])
def test_the_command_line_is_the_labs_machine(tmp_path: Path, mode: str, accel: str, cpu: str) -> None:
    command = qemu_command(machine(tmp_path), mode)
    assert (after(command, "-accel"), after(command, "-cpu"), after(command, "-M")) == ([accel], [cpu], ["pc"])
    smp = {"tcg": "2,maxcpus=2", "kvm": "2"}[mode]
    assert (after(command, "-smp"), after(command, "-m"), after(command, "-display")) == ([smp], ["384"], ["none"])
    system, seed = (json.loads(text) for text in after(command, "-blockdev"))
    assert system["file"]["filename"] == str(tmp_path / "system, really.img")
    assert (system["driver"], system["read-only"], seed["driver"], seed["read-only"]) == ("qcow2", False, "raw", True)
    assert "virtio-blk-pci,drive=disk0,serial=system,bootindex=1" in after(command, "-device")
    assert after(command, "-netdev") == ["user,id=management,restrict=on,hostfwd=tcp:127.0.0.1:9-:22"]


def test_the_files_are_those_of_the_topology(tmp_path: Path) -> None:
    image = tmp_path / "image.raw"
    with image.open("wb") as file:
        file.truncate(1 << 20)
    topology = load_topology(EMBEDDED)
    found = prepare(topology, {name: Image(image, Path(), Path()) for name in topology.machines}, tmp_path)
    assert [item.name for item in found] == list(topology.machines)
    app = found[0]
    assert [disk.serial for disk in app.disks] == ["system", "data", "changes", "lab-seed"]
    assert all(disk.path.is_file() for disk in app.disks)
    assert app.disks[1].path.stat().st_size == 256 << 20
    described = subprocess.run(
        ["qemu-img", "info", "--output=json", str(app.disks[0].path)], check=True, capture_output=True, timeout=30
    )
    assert json.loads(described.stdout)["virtual-size"] == 900 << 20
    assert (tmp_path / "login").stat().st_mode & 0o777 == 0o600
    assert len({item.ssh.endpoint.port for item in found}) == len(found)


def test_processes_end_with_the_block_also_on_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(600)"]
    monkeypatch.setattr(bare, "qemu_command", lambda machine, mode: sleeper)
    machines = [machine(tmp_path, "app1"), machine(tmp_path, "app2")]
    with pytest.raises(RuntimeError), started(machines, "tcg") as processes:  # noqa: PT012
        assert [process.poll() for process in processes.values()] == [None, None]
        raise RuntimeError
    assert all(process.returncode is not None for process in processes.values())


def test_a_process_that_ends_at_once_is_reported_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bare, "qemu_command", lambda machine, mode: ["sh", "-c", "echo no such device >&2; exit 3"])
    app = machine(tmp_path)
    with started([app], "tcg") as processes:
        processes["app1"].wait(30)
        with pytest.raises(LabError, match="ended with 3: no such device"):
            wait_login(app, processes["app1"], Deadline.after(60))
