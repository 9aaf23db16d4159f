"""An emulated ESXi host, and the driver for it."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from esxi_backends import MEMORY, TLS, Emulated, emulated

from lab.hypervisors.esxi import EsxiHypervisor


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as found:
        yield found


@pytest.fixture(params=[MEMORY, TLS])
def host(request: pytest.FixtureRequest, tmp_path: Path, stack: ExitStack) -> Emulated:
    return emulated(request.param, tmp_path / "host", stack)


@pytest.fixture
def tls(tmp_path: Path, stack: ExitStack) -> Emulated:
    return emulated(TLS, tmp_path / "host", stack)


@pytest.fixture
def driver(host: Emulated, stack: ExitStack) -> EsxiHypervisor:
    found = host.driver("mine")
    stack.callback(found.close)
    return found
