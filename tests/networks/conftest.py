import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.networks.bridge import BridgeSwitches
from lab.networks.hub import HubSwitches
from lab.networks.naming import namespace_name
from lab.networks.protocol import NetworkError, Switches

LABS = tuple(f"net-{os.getpid()}-{letter}" for letter in "ab")


def namespace_refusal() -> str | None:
    """Say why this process cannot make network namespaces, or None."""
    if os.geteuid() != 0:
        return "bridges in a namespace need root"
    probe = BridgeSwitches(f"net-{os.getpid()}-probe")
    try:
        probe.ensure("probe")
    except NetworkError as error:
        return f"this machine makes no bridges: {error}"
    finally:
        probe.remove_all()
    return None


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: the path of a unix socket has 107 characters at most.
    path = Path(tempfile.mkdtemp(prefix="hub-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def hubs(folder: Path) -> Iterator[tuple[HubSwitches, HubSwitches]]:
    if shutil.which("qemu-system-x86_64") is None:
        pytest.skip("qemu-system-x86_64 is not installed")
    pair = HubSwitches(LABS[0], folder / "a"), HubSwitches(LABS[1], folder / "b")
    yield pair
    for switches in pair:
        switches.remove_all()


@pytest.fixture
def bridges() -> Iterator[tuple[BridgeSwitches, BridgeSwitches]]:
    refusal = namespace_refusal()
    if refusal is not None:
        pytest.skip(refusal)
    pair = BridgeSwitches(LABS[0]), BridgeSwitches(LABS[1])
    yield pair
    for switches in pair:
        switches.remove_all()
        assert not Path("/run/netns", namespace_name(switches.tag)).exists()


@pytest.fixture(params=["bridges", pytest.param("hubs", marks=pytest.mark.qemu)])
def two_labs(request: pytest.FixtureRequest) -> tuple[Switches, Switches]:
    pair: tuple[Switches, Switches] = request.getfixturevalue(request.param)
    return pair
