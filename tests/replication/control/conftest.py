from __future__ import annotations

import pytest
from control_stand_ins import World


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.close()
