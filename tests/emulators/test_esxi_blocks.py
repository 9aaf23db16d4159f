"""Work on block nodes, as far as it is ours and not QEMU's."""

from pathlib import Path
from typing import Any

import pytest

from lab.emulators.esxi.backend import BackendError
from lab.emulators.esxi.disk_files import create_flat
from lab.emulators.esxi.qemu.blocks import close_disk


class SlowQemu:
    """Lets go of a node only at the third request, as a real one does after a hot unplug."""

    def __init__(self, refusals: list[str]) -> None:
        self.refusals = refusals
        self.closed = 0

    def execute(self, command: str, **arguments: Any) -> None:
        if self.refusals:
            raise BackendError(f"{command}: {self.refusals.pop(0)}")
        self.closed += 1


def test_a_disk_that_is_still_held_for_a_moment_is_closed_a_moment_later(tmp_path: Path) -> None:
    create_flat(tmp_path / "d.vmdk", 1 << 20)
    qemu = SlowQemu(["Node n1 is in use", "Node n1 is in use"])
    close_disk(qemu, tmp_path / "d.vmdk")  # type: ignore[arg-type]
    assert qemu.closed == 1
    with pytest.raises(BackendError, match="Failed to find node"):
        close_disk(SlowQemu(["Failed to find node"]), tmp_path / "d.vmdk")  # type: ignore[arg-type]
