"""Probes: short checks of what the parts of the stack do, in one process over loopback.

They run as tests on the stack as it is, and by ``lab sensitivity --fast`` once for each seeded defect. Stand-ins are
those of the stack's own tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

_STAND_INS = Path(__file__).parents[1] / "replication"
for _folder in ("data", "control"):
    sys.path.append(str(_STAND_INS / _folder))

import pytest  # noqa: E402
from certificates import Authority  # noqa: E402


@pytest.fixture(scope="session")
def authority() -> Authority:
    """A certificate authority as the configuration server has one."""
    return Authority()
