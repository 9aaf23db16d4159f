"""Work on block nodes, as far as it is ours and not QEMU's."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from lab.emulators.esxi.backend import BackendError, CardPlug, SwitchLink
from lab.emulators.esxi.disk_files import create_flat
from lab.emulators.esxi.qemu import QemuBackend
from lab.emulators.esxi.qemu.blocks import close_disk
from lab.networks.protocol import TapWiring


class SlowQemu:
    """Lets go of a node only at the third request, as a real one does after a hot unplug."""

    def __init__(self, refusals: list[str]) -> None:
        self.refusals = refusals
        self.closed = 0

    def execute(self, command: str, **arguments: Any) -> None:
        if self.refusals:
            raise BackendError(f"{command}: {self.refusals.pop(0)}")
        self.closed += 1


class OneAtATime:
    """Switches that are made by looking and then making, as bridges are: two at once would make one twice."""

    def __init__(self) -> None:
        self._made: set[str] = set()
        self.both = threading.Barrier(2)

    def ensure(self, network: str) -> None:
        missing = network not in self._made
        with suppress(threading.BrokenBarrierError):
            self.both.wait(0.3)  # broken when nobody else comes in here meanwhile
        if missing:
            assert network not in self._made, f"{network} is made twice"
            self._made.add(network)

    def wire(self, network: str, machine: str) -> TapWiring:
        return TapWiring(f"{network}-{machine}")


def test_machines_that_start_together_make_a_switch_once(tmp_path: Path) -> None:
    backend = QemuBackend(tmp_path, "tcg", OneAtATime())  # type: ignore[arg-type]
    card = CardPlug(4000, "52:54:00:00:00:01", SwitchLink("wan"))
    with ThreadPoolExecutor(2) as pool:
        taps = list(pool.map(lambda machine: backend._wire(machine, card), ("1", "2")))
    assert taps == [TapWiring("wan-1-4000"), TapWiring("wan-2-4000")]


def test_a_disk_that_is_still_held_for_a_moment_is_closed_a_moment_later(tmp_path: Path) -> None:
    create_flat(tmp_path / "d.vmdk", 1 << 20)
    qemu = SlowQemu(["Node n1 is in use", "Node n1 is in use"])
    close_disk(qemu, tmp_path / "d.vmdk")  # type: ignore[arg-type]
    assert qemu.closed == 1
    with pytest.raises(BackendError, match="Failed to find node"):
        close_disk(SlowQemu(["Failed to find node"]), tmp_path / "d.vmdk")  # type: ignore[arg-type]
