"""A real Azurite where node is there; each test gets its own, because some kill it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lab.emulators.azurite.package import missing_program, provide
from lab.emulators.azurite.service import LocalAzurite, running
from lab.home import home
from lab.replication.vault.azure_storage import AzureStorage
from lab.replication.vault.memory import MemoryStorage
from lab.replication.vault.storage import Storage

CACHE = home() / "emulators"
needs_node = pytest.mark.skipif(
    missing_program() is not None, reason=f"Azurite needs {missing_program()}: apt-get install nodejs npm"
)


@pytest.fixture(scope="session")
def azurite_program() -> Path:
    return provide(CACHE)


@pytest.fixture
def azurite(azurite_program: Path, tmp_path: Path) -> Iterator[LocalAzurite]:
    with running(CACHE, tmp_path / "azurite") as local:
        yield local


@pytest.fixture
def open_azure() -> Iterator[Callable[[LocalAzurite], AzureStorage]]:
    opened: list[AzureStorage] = []

    def open_one(local: LocalAzurite) -> AzureStorage:
        azurite = local.azurite
        opened.append(AzureStorage(azurite.connection_string, azurite.certificates.ca))
        return opened[-1]

    yield open_one
    for storage in opened:
        storage.close()


@pytest.fixture(params=["memory", pytest.param("azurite", marks=needs_node)])
def storage(request: pytest.FixtureRequest) -> Storage:
    if request.param == "memory":
        return MemoryStorage()
    local = request.getfixturevalue("azurite")
    return request.getfixturevalue("open_azure")(local)
