"""An image of the user's: what is none is said before a machine is made."""

import io
import shutil
import subprocess
from pathlib import Path

import pytest
from rich.console import Console

from lab.errors import BadInput
from lab.provision.board import ConsoleBoard
from lab.provision.home import Home
from lab.provision.images import provide_images
from lab.topology.load import load_topology

EMBEDDED = Path(__file__).parents[2] / "topologies" / "embedded.yaml"


@pytest.fixture
def board() -> ConsoleBoard:
    return ConsoleBoard(Console(file=io.StringIO(), force_terminal=False), "lab")


def provide(folder: Path, board: ConsoleBoard) -> list[Path]:
    topology = folder / "own.yaml"
    topology.write_text(EMBEDDED.read_text().replace("{recipe: debian-12}", "{path: own.qcow2}"))
    return [image.disk for image in provide_images(load_topology(topology), Home(folder / "home"), board).values()]


def test_an_image_that_is_not_there(tmp_path: Path, board: ConsoleBoard) -> None:
    with pytest.raises(BadInput, match=r"own\.qcow2 does not exist"):
        provide(tmp_path, board)


def test_a_file_that_is_no_image(tmp_path: Path, board: ConsoleBoard) -> None:
    (tmp_path / "own.qcow2").write_text("a page that says that the download failed\n")
    with pytest.raises(BadInput, match=r"own\.qcow2 is not in the format qcow2"):
        provide(tmp_path, board)


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")
def test_an_image(tmp_path: Path, board: ConsoleBoard) -> None:
    image = tmp_path / "own.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(image), "3M"], check=True)
    assert provide(tmp_path, board) == [image]
