from pathlib import Path

import pytest

from lab.provision.home import Home, LabFolder
from lab.topology.load import load_topology
from lab.topology.model import Topology


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def folder(home: Home) -> LabFolder:
    made = home.lab("lab1")
    made.make()
    return made


@pytest.fixture(scope="session")
def embedded() -> Topology:
    return load_topology(Path(__file__).parents[2] / "topologies" / "embedded.yaml")
