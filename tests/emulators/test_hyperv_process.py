"""The emulated Hyper-V host as a process: how it starts, the whole life of a real machine, and what SIGKILL leaves."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lab.cli import application
from lab.emulators.common.home import CannotStart
from lab.emulators.hyperv.run import Choices, serving
from lab.hypervisors.hyperv import HypervHypervisor, Target, Trust, connect
from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Management, Nic, PowerState
from lab.networks.naming import tag_of
from lab.waiting import Deadline, wait_until

MIB, SECTOR = 1 << 20, 512
SYSTEM = DiskId("m1-system")
# Writes its own sector to the next one by the BIOS, prints a line to COM1, halts.
BOOT = (
    bytes.fromhex("31c0 8ed8 8ec0 b80103 bb007c b90200 ba8000 cd13 fc be267c baf803 ac 08c0 7403 ee ebf8 f4 ebfd")
    + b"BOOTED FROM DISK\r\n\0"
)
IMAGE = BOOT.ljust(510, b"\0") + b"\x55\xaa"


@contextmanager
def process(home: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the emulator as a lab does, until it answers; end it as a lab does."""
    command = [sys.executable, "-m", "lab.emulators.hyperv", "--home", str(home), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as found:
        try:
            wait_until((home / "endpoint.json").exists, Deadline.after(60), "endpoint of the emulator", every=0.05)
            yield found
        finally:
            found.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                found.wait(30)
            found.kill()
            (home / "endpoint.json").unlink(missing_ok=True)
            assert found.stderr is not None
            found.stderr.close()


def driver(home: Path, lab: str) -> HypervHypervisor:
    said = json.loads((home / "endpoint.json").read_text())
    password = (home / "password").read_text().strip()
    trust = Trust(Path(said["certificate"]))
    return connect(Target("127.0.0.1", said["port"], said["user"], password, trust, Path(said["exchange"])), lab, home)


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder that QEMU's user can pass through."""
    try:
        domains("nothing", Path())
    except Exception as error:  # noqa: BLE001 - whatever libvirt's binding or its absence raises
        pytest.skip(f"libvirt does not answer: {error}")
    made = Path(tempfile.mkdtemp(prefix="hyperv-", dir="/var/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


def domains(lab: str, home: Path) -> list[str]:
    import libvirt

    connection = libvirt.open("qemu:///system")
    try:
        return [
            found.name() for found in connection.listAllDomains() if found.name().startswith(f"{tag_of(lab, home)}.")
        ]
    finally:
        connection.close()


def second_sector(home: Path, lab: str, host: HypervHypervisor, name: str) -> bytes:
    """What the guest has written, read from a clone: the emulator's own copy of all layers."""
    host.clone_disk(SYSTEM, DiskId(name))
    return (home / lab / "disks" / f"{name}.img").read_bytes()[SECTOR : 2 * SECTOR]


@pytest.mark.qemu
@pytest.mark.timeout(600)
def test_the_whole_life_of_a_real_machine(home: Path, tmp_path: Path) -> None:
    lab = f"hvlife{os.getpid()}"
    (tmp_path / "image.raw").write_bytes(IMAGE.ljust(MIB, b"\0"))
    with process(home, "--lab", lab):
        host = driver(home, lab)
        host.import_disk(SYSTEM, tmp_path / "image.raw", 2 * MIB)
        card = Management("52:54:00:00:00:01")
        host.define(MachineSpec("m1", 1, 64, (DiskAttachment(SYSTEM, "system"),), (), card))
        before = host.checkpoints.create_snapshot("m1", "before the first boot")
        host.power_on("m1")
        wait_until(lambda: b"BOOTED FROM DISK" in host.console_log("m1").read_bytes(), Deadline.after(120), "boot")
        assert host.endpoint("m1").host == "127.0.0.1"
        assert domains(lab, home) == [f"{tag_of(lab, home)}.m1"], "a real domain, under the lab's own name"
        assert second_sector(home, lab, host, "running") == IMAGE, "the guest wrote; the clone has all layers"
        host.create_disk(DiskId("m1-data"), MIB)
        host.attach_disk("m1", DiskAttachment(DiskId("m1-data"), "data"))
        during = host.checkpoints.create_snapshot("m1", "during")
        host.checkpoints.remove_snapshot(during)
        assert [item.name for item in host.checkpoints.snapshots("m1")] == ["before the first boot"]
        host.checkpoints.revert("m1", before)
        assert host.power("m1") is PowerState.OFF
        assert second_sector(home, lab, host, "reverted") == bytes(SECTOR), "as before the first boot"
        host.power_on("m1")
        wait_until(
            lambda: host.console_log("m1").read_bytes().count(b"BOOTED") >= 2, Deadline.after(120), "second boot"
        )
        host.power_off("m1")
        host.checkpoints.remove_snapshot(before)
        assert second_sector(home, lab, host, "merged") == IMAGE, "what the second boot wrote is in the merged disk"
        removed = host.remove_all()
        assert {"machine m1", "disk m1-system", "disk running"} <= set(removed)
        host.close()
    assert domains(lab, home) == []


@pytest.mark.qemu
@pytest.mark.timeout(600)
def test_what_sigkill_leaves_is_gone_after_the_next_start(home: Path) -> None:
    lab = f"hvkill{os.getpid()}"
    with process(home, "--lab", lab) as emulator:
        host = driver(home, lab)
        host.create_disk(SYSTEM, MIB)
        host.define(MachineSpec("m1", 1, 64, (DiskAttachment(SYSTEM, "system"),), (), None))
        host.power_on("m1")
        emulator.kill()
        emulator.wait(30)
        assert domains(lab, home) == [f"{tag_of(lab, home)}.m1"]
    with process(home, "--lab", lab):
        assert domains(lab, home) == []
        assert list(driver(home, lab).machines()) == []


@pytest.mark.qemu
@pytest.mark.timeout(600)
def test_beside_machines_of_the_lab_itself_the_tag_is_another_one(home: Path) -> None:
    """As in a lab with a libvirt host, too: neither of the two sees or removes what is the other's."""
    from lab.hypervisors.libvirt import connect as connect_libvirt

    lab = f"hvs{os.getpid()}"
    beside = connect_libvirt("qemu:///system", lab, home, "tcg")
    try:
        beside.define(MachineSpec("other", 1, 64, (), (), None))
        with process(home, "--lab", lab, "--shared"):
            host = driver(home, lab)
            host.define(MachineSpec("m1", 1, 64, (), (Nic("net", "52:54:00:00:00:02"),), None))
            host.power_on("m1")
            assert domains(lab, home) == [f"{tag_of(lab, home)}.other"]
            assert domains(f"{lab}-hv", home) == [f"{tag_of(f'{lab}-hv', home)}.m1"]
            assert [machine.name for machine in beside.machines()] == ["other"]
        assert domains(f"{lab}-hv", home) == []
        assert [machine.name for machine in beside.machines()] == ["other"]
    finally:
        beside.remove_all()
        beside.close()


def test_two_emulators_do_not_share_a_home(tmp_path: Path) -> None:
    with (
        serving(Choices(tmp_path, "memory")),
        pytest.raises(CannotStart, match="another emulated host uses"),
        serving(Choices(tmp_path, "memory")),
    ):
        pass


def test_what_is_made_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with serving(Choices(home, "memory")) as found:
        assert stat.S_IMODE((home / "password").stat().st_mode) == 0o600
        assert stat.S_IMODE((home / "accounts").stat().st_mode) == 0o600
        assert stat.S_IMODE((home / "key.pem").stat().st_mode) == 0o600
        assert stat.S_IMODE(found.exchange.stat().st_mode) == 0o700
        password = (home / "password").read_text().strip()
        assert password not in (home / "endpoint.json").read_text() + repr(found)
    assert not (home / "endpoint.json").exists()


def test_a_password_that_ntlm_cannot_list_and_a_taken_port_are_said(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("a:b\n")
    choices = Choices(tmp_path / "a", "memory", password_file=tmp_path / "given")
    with pytest.raises(CannotStart, match="':'"), serving(choices):
        pass
    with serving(Choices(tmp_path / "b", "memory")) as found:
        port = int(found.url.rpartition(":")[2].removesuffix("/wsman"))
        with pytest.raises(CannotStart, match=f"port {port}"), serving(Choices(tmp_path / "c", "memory", port)):
            pass


def test_a_libvirt_that_does_not_answer_is_said(tmp_path: Path) -> None:
    with (
        pytest.raises(CannotStart, match="libvirt does not answer"),
        serving(Choices(tmp_path, "tcg", uri="qemu+unix:///system?socket=/nowhere")),
    ):
        pass


def test_the_command_refuses_another_place_than_this_machine() -> None:
    ended = CliRunner().invoke(application(), ["emulate", "hyperv", "--host", "elsewhere"])
    assert ended.exit_code != 0
    assert "elsewhere" in ended.output + str(ended.exception)
