from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority
from control_standin import ControlStandIn


@pytest.fixture(scope="session")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def control(authority: Authority, tmp_path: Path) -> Iterator[ControlStandIn]:
    identity = authority.issue(tmp_path / "cs-identity", "configuration-server", "cs")
    standin = ControlStandIn(authority, identity)
    yield standin
    standin.close()
