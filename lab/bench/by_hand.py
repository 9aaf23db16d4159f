"""Files for bare machines: the lab's images, overlays, blank disks and seeds, made before the clock starts."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from lab.bench.bare import BareDisk, BareMachine
from lab.errors import LabError
from lab.hypervisors.image import inspect_image
from lab.hypervisors.model import SEED_SERIAL, Endpoint
from lab.images.cache import Image, ImageCache
from lab.images.identity import Identity, SshKey, new_ssh_key
from lab.images.seed import write_seed
from lab.machines.ssh import Login, SshTransport
from lab.provision.blueprint import Blueprint, blueprint, hosts_file
from lab.provision.home import Home
from lab.topology.images import RecipeImage
from lab.topology.model import Topology

TOOL_SECONDS = 60.0
READ_BYTES = 8 << 20


def provided(topology: Topology, home: Home) -> dict[str, Image]:
    """Return the image of every machine, built now if it is not cached. Raises LabError."""
    cache = ImageCache(home.images)
    found = {}
    for name, machine in topology.machines.items():
        source = topology.images[machine.image]
        if isinstance(source, RecipeImage):
            found[name] = cache.provide(source.recipe, machine.disks[0].size)
        else:
            found[name] = Image((topology.source.parent / source.path).resolve(), Path(), Path())
    return found


def warm(images: dict[str, Image]) -> None:
    """Read the images once: whoever boots first must not pay for the disk of this host."""
    for path in {image.disk for image in images.values()}:
        with path.open("rb") as file:
            while file.read(READ_BYTES):
                pass


def prepare(topology: Topology, images: dict[str, Image], folder: Path) -> list[BareMachine]:
    """Make the files of every machine in ``folder``. Raises LabError."""
    login = new_ssh_key("bench")
    key_file = folder / "login"
    key_file.touch(mode=0o600)
    key_file.write_text(login.private, encoding="ascii")
    return [_machine(topology, name, image.disk, folder, (key_file, login)) for name, image in images.items()]


def _machine(topology: Topology, name: str, image: Path, folder: Path, login: tuple[Path, SshKey]) -> BareMachine:
    plan = blueprint(topology, name)
    if plan.spec.management is None:
        raise LabError(f"{name} has no card on a management network, so nobody can log in")
    host_key = new_ssh_key(name)
    seed = folder / f"{name}.iso"
    write_seed(_identity(topology, plan, host_key, login[1].public), seed)
    transport = SshTransport(name, Endpoint("127.0.0.1", free_port()), Login("root", login[0], host_key.public))
    return BareMachine(
        name=name,
        cpus=plan.spec.cpus,
        memory_mib=plan.spec.memory_mib,
        disks=(*_disks(plan, image, folder), BareDisk(seed, "raw", SEED_SERIAL, read_only=True)),
        mac=plan.spec.management.mac,
        ssh=transport,
        console=folder / f"{name}.console",
    )


def _identity(topology: Topology, plan: Blueprint, host_key: SshKey, login: str) -> Identity:
    return Identity(
        lab="bench",
        machine=plan.name,
        host_key=host_key,
        authorized_keys=(login,),
        cards=plan.cards,
        filesystems=plan.filesystems,
        hosts=hosts_file(topology),
        forwards_packets=plan.forwards_packets,
    )


def _disks(plan: Blueprint, image: Path, folder: Path) -> list[BareDisk]:
    found = []
    for position, attachment in enumerate(plan.spec.disks):
        path, size = folder / f"{attachment.disk.name}.img", plan.disk_sizes[attachment.disk]
        if position == 0:
            _overlay(path, image, size)
        else:
            with path.open("wb") as file:
                file.truncate(size)
        found.append(BareDisk(path, "raw" if position else "qcow2", attachment.serial))
    return found


def _overlay(path: Path, image: Path, size: int) -> None:
    image_format, image_size = inspect_image(image)
    command = ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image), "-F", image_format]
    try:
        subprocess.run(
            [*command, str(path), str(max(size, image_size))],
            check=True, capture_output=True, text=True, timeout=TOOL_SECONDS,
        )  # fmt: skip
    except FileNotFoundError as error:
        raise LabError("qemu-img is missing", hint="make bootstrap installs it") from error
    except subprocess.CalledProcessError as error:
        raise LabError(f"qemu-img failed: {error.stderr.strip()}") from error


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
