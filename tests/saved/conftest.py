from pathlib import Path

import pytest
from saved_labs import Steps

from lab.provision.home import Home
from lab.saved.store import SavedLabs
from lab.topology.load import load_topology
from lab.topology.model import Topology


@pytest.fixture
def board() -> Steps:
    return Steps()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> SavedLabs:
    return SavedLabs(home.saved)


@pytest.fixture(scope="session")
def embedded() -> Topology:
    return load_topology(Path(__file__).parents[2] / "topologies" / "embedded.yaml")
