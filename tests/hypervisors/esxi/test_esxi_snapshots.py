"""Changed-block tracking end to end, with bytes that were really written (facts/vsphere.md 3.3)."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from esxi_backends import MEMORY, QEMU, TLS, Emulated, emulated
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.emulators.esxi.memory import GRAIN, MemoryBackend
from lab.emulators.esxi.qemu import QemuBackend
from lab.hypervisors.esxi import EsxiHypervisor
from lab.hypervisors.model import Area, DiskAttachment, DiskId, MachineSpec, PowerState, SnapshotId
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound, TrackingLost

KIB, MIB = 1 << 10, 1 << 20
DISK = DiskId("m1-system")
LAB = "cbt"

pytestmark = pytest.mark.unverified_on_real_host


@dataclass
class Tracked:
    """A running machine with change tracking, and a hand inside it that writes."""

    host: EsxiHypervisor
    emulated: Emulated

    def write(self, pattern: int, offset: int, length: int) -> None:
        machine = self.emulated.emulator.site.machines[0]
        backend = self.emulated.emulator.backend
        if isinstance(backend, QemuBackend):
            # The guest's own device, as if the guest wrote; nothing of the emulator is in between.
            device = f"/machine/peripheral/device{self._device().key}/virtio-backend"
            line = f'qemu-io -d {device} "write -P {pattern} {offset} {length}"'
            said = backend._machine(machine.identity).execute("human-monitor-command", **{"command-line": line})
            assert said == ""
        else:
            assert isinstance(backend, MemoryBackend)
            top = self.emulated.emulator.site.folder.file(self._device().backing.fileName)
            backend.write(top, offset // GRAIN * GRAIN, bytes([pattern]) * max(length, GRAIN))

    def snapshot(self, name: str) -> SnapshotId:
        return self.host.snapshots.create_snapshot("m1", name)

    def remove(self, snapshot: SnapshotId) -> None:
        self.host.snapshots.remove_snapshot(snapshot)

    def id(self, snapshot: SnapshotId) -> str:
        return self.host.snapshots.change_id(snapshot, DISK)

    def changed(self, snapshot: SnapshotId, since: str = "*") -> list[tuple[int, int]]:
        areas = self.host.snapshots.changed_areas("m1", snapshot, DISK, since)
        return [(area.start, area.length) for area in areas]

    def _device(self) -> object:
        return self.host.site.find("m1").device_of(DISK)


def tracked(kind: str, home: Path, stack: ExitStack) -> Tracked:
    host = emulated(kind, home, stack)
    driver = host.driver(LAB)
    stack.callback(driver.close)
    driver.create_disk(DISK, 32 * MIB)
    driver.define(MachineSpec("m1", 1, 64, (DiskAttachment(DISK, "system"),), (), None))
    driver.snapshots.track_changes("m1")
    driver.power_on("m1")
    return Tracked(driver, host)


@pytest.fixture(params=[MEMORY, TLS, pytest.param(QEMU, marks=pytest.mark.qemu)])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tracked]:
    with ExitStack() as stack:
        yield tracked(request.param, tmp_path / "host", stack)


def test_changes_between_two_snapshots_are_exact_and_later_ones_do_not_leak(machine: Tracked) -> None:
    machine.write(1, MIB, 64 * KIB)
    first = machine.snapshot("first")
    since = machine.id(first)
    machine.write(2, 4 * MIB, 64 * KIB)
    machine.write(3, 10 * MIB, 512)
    machine.remove(first)
    machine.write(4, 20 * MIB, 128 * KIB)
    second = machine.snapshot("second")
    machine.write(5, 30 * MIB, 64 * KIB)
    assert machine.changed(second, since) == [(4 * MIB, 64 * KIB), (10 * MIB, 64 * KIB), (20 * MIB, 128 * KIB)]
    third = machine.snapshot("third")
    assert machine.changed(third, machine.id(second)) == [(30 * MIB, 64 * KIB)]
    assert machine.changed(third, since)[-1] == (30 * MIB, 64 * KIB)
    assert len(machine.changed(third, since)) == 4


def test_what_a_disk_holds_is_told_for_the_first_copy(machine: Tracked) -> None:
    machine.write(7, 2 * MIB, 64 * KIB)
    assert machine.changed(machine.snapshot("first")) == [(2 * MIB, 64 * KIB)]


def test_tracking_survives_a_power_cycle(machine: Tracked) -> None:
    first = machine.snapshot("first")
    since = machine.id(first)
    machine.remove(first)
    machine.write(1, 3 * MIB, 64 * KIB)
    machine.host.power_off("m1")
    machine.host.power_on("m1")
    machine.write(2, 9 * MIB, 64 * KIB)
    second = machine.snapshot("second")
    assert machine.changed(second, since) == [(3 * MIB, 64 * KIB), (9 * MIB, 64 * KIB)]


@pytest.mark.parametrize("running", [True, False])
def test_growing_a_disk_keeps_what_is_known_of_its_changes(machine: Tracked, running: bool) -> None:
    first = machine.snapshot("first")
    since = machine.id(first)
    machine.remove(first)
    machine.write(1, 3 * MIB, 64 * KIB)
    if not running:
        machine.host.power_off("m1")
    assert machine.host.grow_disk(DISK, 48 * MIB).size_bytes == 48 * MIB
    if not running:
        machine.host.power_on("m1")
    machine.write(2, 40 * MIB, 64 * KIB)
    second = machine.snapshot("second")
    assert machine.changed(second, since) == [(3 * MIB, 64 * KIB), (40 * MIB, 64 * KIB)]
    assert machine.host.snapshots.read_area(second, DISK, Area(40 * MIB, 512)) == b"\2" * 512
    assert machine.host.snapshots.read_area(second, DISK, Area(47 * MIB, 512)) == bytes(512)


def test_a_disk_below_a_snapshot_does_not_grow(machine: Tracked) -> None:
    machine.snapshot("first")
    with pytest.raises(HypervisorError, match="snapshot"):
        machine.host.grow_disk(DISK, 48 * MIB)
    assert machine.host.disk(DISK).size_bytes == 32 * MIB


def test_removing_a_snapshot_between_two_others_loses_nothing(machine: Tracked) -> None:
    first, ids = machine.snapshot("first"), []
    ids.append(machine.id(first))
    machine.write(1, MIB, 64 * KIB)
    second = machine.snapshot("second")
    ids.append(machine.id(second))
    machine.write(2, 2 * MIB, 64 * KIB)
    third = machine.snapshot("third")
    machine.remove(first)
    assert machine.changed(third, ids[1]) == [(2 * MIB, 64 * KIB)]
    machine.remove(second)
    assert machine.changed(third, ids[0]) == [(MIB, 64 * KIB), (2 * MIB, 64 * KIB)]
    assert machine.host.snapshots.snapshots("m1") == [third]


def test_areas_are_read_as_the_snapshot_froze_them(machine: Tracked) -> None:
    machine.write(0x11, MIB, 64 * KIB)
    snapshot = machine.snapshot("first")
    machine.write(0x22, MIB, 64 * KIB)
    [area] = machine.host.snapshots.changed_areas("m1", snapshot, DISK)
    assert machine.host.snapshots.read_area(snapshot, DISK, area) == b"\x11" * area.length
    machine.remove(snapshot)
    again = machine.snapshot("again")
    assert machine.host.snapshots.read_area(again, DISK, area) == b"\x22" * area.length


def test_a_snapshot_on_top_of_another_is_not_read_as_if_it_were_flat(machine: Tracked) -> None:
    machine.snapshot("below")
    above = machine.snapshot("above")
    with pytest.raises(Conflict, match="on top of another"):
        machine.host.snapshots.read_area(above, DISK, Area(0, 512))


def test_a_foreign_change_id_is_never_answered(machine: Tracked) -> None:
    snapshot = machine.snapshot("first")
    own = machine.id(snapshot)
    identity, _, number = own.rpartition("/")
    for foreign in ("52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63/81", f"{identity}/{int(number) + 1}", "nonsense"):
        with pytest.raises(TrackingLost):
            machine.changed(snapshot, foreign)
    assert machine.changed(snapshot, own) == []


def test_a_long_answer_comes_in_pieces_and_is_put_together(machine: Tracked) -> None:
    machine.emulated.emulator.site.most_areas = 2
    offsets = [number * 4 * MIB for number in range(7)]
    for offset in offsets:
        machine.write(9, offset, 64 * KIB)
    assert machine.changed(machine.snapshot("first")) == [(offset, 64 * KIB) for offset in offsets]


def test_a_revert_brings_the_content_back_and_leaves_the_machine_off(machine: Tracked) -> None:
    machine.write(0x11, MIB, 64 * KIB)
    snapshot = machine.snapshot("first")
    machine.write(0x22, MIB, 64 * KIB)
    machine.host.snapshots.revert("m1", snapshot)
    assert machine.host.power("m1") is PowerState.OFF
    machine.remove(snapshot)
    content = machine.emulated.file_of(LAB, DISK).read_bytes()
    assert content[MIB : MIB + 64 * KIB] == b"\x11" * 64 * KIB
    machine.host.power_on("m1")


def test_a_disk_of_a_running_machine_is_cloned_at_one_moment(machine: Tracked) -> None:
    machine.write(0x33, 5 * MIB, 64 * KIB)
    machine.host.clone_disk(DISK, DiskId("copy"))
    machine.write(0x44, 5 * MIB, 64 * KIB)
    content = machine.emulated.file_of(LAB, DiskId("copy")).read_bytes()
    assert content[5 * MIB : 5 * MIB + 64 * KIB] == b"\x33" * 64 * KIB
    assert len(content) == 32 * MIB
    assert machine.host.snapshots.snapshots("m1") == []


def test_without_tracking_there_is_no_change_id(machine: Tracked) -> None:
    machine.host.create_disk(DiskId("m2-system"), MIB)
    machine.host.define(MachineSpec("m2", 1, 64, (DiskAttachment(DiskId("m2-system"), "system"),), (), None))
    snapshot = machine.host.snapshots.create_snapshot("m2", "first")
    with pytest.raises(Conflict, match="not tracked"):
        machine.host.snapshots.change_id(snapshot, DiskId("m2-system"))
    with pytest.raises(TrackingLost):
        machine.host.snapshots.changed_areas("m2", snapshot, DiskId("m2-system"))


def test_a_machine_with_snapshots_is_not_forgotten_and_another_lab_does_not_touch_them(machine: Tracked) -> None:
    snapshot = machine.snapshot("first")
    machine.host.power_off("m1")
    with pytest.raises(Conflict, match="snapshots"):
        machine.host.undefine("m1")
    other = machine.emulated.driver("another")
    with pytest.raises(NotFound):
        other.snapshots.remove_snapshot(snapshot)
    other.close()
    machine.remove(snapshot)
    machine.host.undefine("m1")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, 31)),
        st.tuples(st.just("snapshot"), st.just(0)),
        st.tuples(st.just("remove"), st.integers(0, 5)),
    ),
    max_size=14,
)


@settings(max_examples=15)
@given(steps=STEPS)
def test_whatever_is_done_a_snapshot_tells_what_was_written_since_an_earlier_one(
    steps: list[tuple[str, int]],
) -> None:
    """A model beside it remembers the grains that were written between two snapshots, removed or not."""
    with ExitStack() as stack:
        home = stack.enter_context(TemporaryDirectory())
        machine = tracked(MEMORY, Path(home) / "host", stack)
        history: list[tuple[str, set[int]]] = []  # change id of a moment, what was written since the one before
        present: list[SnapshotId] = []
        written: set[int] = set()
        for step, number in [*steps, ("snapshot", 0)]:
            if step == "write":
                machine.write(1, number * MIB, GRAIN)
                written.add(number * MIB)
            elif step == "snapshot":
                present.append(machine.snapshot(f"s{len(history)}"))
                history.append((machine.id(present[-1]), written))
                written = set()
            elif present:
                machine.remove(present.pop(number % len(present)))
        newest = present[-1]
        for position, (since, _) in enumerate(history):
            expected = sorted(set().union(*(grains for _, grains in history[position + 1 :])))
            assert machine.changed(newest, since) == [(offset, GRAIN) for offset in expected]
