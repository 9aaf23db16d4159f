"""The disk images that the machines of a topology are made of; one that is only lent has its own."""

from __future__ import annotations

from pathlib import Path

from lab.errors import BadInput
from lab.hypervisors.image import inspect_image
from lab.images.cache import Image, ImageCache
from lab.provision.board import Board
from lab.provision.home import Home
from lab.topology.images import RecipeImage
from lab.topology.machines import Machine
from lab.topology.model import Topology


def provide_images(topology: Topology, home: Home, board: Board) -> dict[tuple[str, int], Image]:
    """Provide every (image, system disk size) that the machines need."""
    cache = ImageCache(home.images)
    found: dict[tuple[str, int], Image] = {}
    for machine in _made(topology):
        key = (machine.image, machine.disks[0].size)
        if key in found:
            continue
        source = topology.images[machine.image]
        if isinstance(source, RecipeImage):
            cached = cache.lookup(source.recipe, key[1])
            board.step(f"image {source.recipe}", "cached" if cached else "building")
            found[key] = cached or cache.provide(source.recipe, key[1])
        else:
            found[key] = Image(_own_image(topology.source.parent / source.path), Path(), Path())
        board.step(f"image {machine.image}", "ready")
    return found


def _made(topology: Topology) -> list[Machine]:
    """Return the machines that get an image."""
    return [machine for name, machine in topology.machines.items() if topology.loan_of(name) is None]


def _own_image(path: Path) -> Path:
    """Return a user's image. Raises BadInput: machines would wait for their deadline with what is none."""
    if not path.is_file():
        raise BadInput(f"the image {path} does not exist")
    if path.suffix == ".qcow2" and inspect_image(path)[0] != "qcow2":
        raise BadInput(f"the image {path} is not in the format qcow2 (qemu-img info says what it is)")
    return path.resolve()


def cached_images(topology: Topology, home: Home) -> dict[tuple[str, int], Image] | None:
    """Return what ``provide_images`` would, None when one of them would have to be built or is missing."""
    cache = ImageCache(home.images)
    for machine in _made(topology):
        source = topology.images[machine.image]
        if isinstance(source, RecipeImage):
            there = cache.lookup(source.recipe, machine.disks[0].size) is not None
        else:
            there = (topology.source.parent / source.path).is_file()
        if not there:
            return None
    return provide_images(topology, home, _Silent())


class _Silent:
    """A board for what takes no time."""

    def step(self, subject: str, step: str) -> None:
        """Show nothing."""
