"""Not collected with the tests: what replica disks are at every recovery point, against the oracle's images.

``lab sensitivity`` runs it when no probe has noticed a defect whose only effect is on disks. If all these images are
the oracle's, with other writes each time, the defect is equivalent: it changes nothing that anybody could see.
"""

from __future__ import annotations

import pytest
from data_path import MIB, Path3

ROUNDS = 8


@pytest.mark.requirement("LAB-WRITE-ORDER", "LAB-POINT-IN-TIME")
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_every_point_is_the_oracles_image(tmp_path, authority, seed):
    path = Path3(tmp_path, authority)
    try:
        path.create([2 * MIB, MIB], b"before" * 5000)
        path.servers().replicate()
        path.stack.random.seed(seed)
        points = []
        for number in range(ROUNDS):
            path.stack.disks.write(0, 4096, bytes([number + 1]) * 2048)
            path.stack.scribble(5)
            points.append(path.wait_point(path.cut()))
            path.stack.disks.write(0, 4096 + 512 * (number % 3), b"between cuts".ljust(512, b"."))
        for point in points:
            assert path.sound(point), point["sequence"]
    finally:
        path.close()
