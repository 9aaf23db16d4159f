"""The emulator as a process: how it starts, and that nothing is left of it, whatever ends it."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab.emulators.common.home import CannotStart
from lab.emulators.esxi.backend import BackendError
from lab.emulators.esxi.qemu.process import Spawner
from lab.emulators.esxi.run import Choices, serving
from lab.hypervisors.esxi import EsxiHypervisor, Target, Trust, connect
from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec, Management, PowerState
from lab.waiting import Deadline, wait_until

MIB = 1 << 20


@contextmanager
def process(home: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run the emulator as a lab does, until it answers."""
    command = [sys.executable, "-m", "lab.emulators.esxi", "--home", str(home), *arguments]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as found:
        try:
            wait_until((home / "endpoint.json").exists, Deadline.after(30), "endpoint of the emulator", every=0.05)
            yield found
        finally:
            found.kill()
            found.wait(10)
            spawner = Spawner(home.resolve())
            spawner.prepare()
            spawner.close()
            (home / "endpoint.json").unlink(missing_ok=True)
            assert found.stderr is not None
            found.stderr.close()


def driver(home: Path) -> EsxiHypervisor:
    said = json.loads((home / "endpoint.json").read_text())
    password = (home / "password").read_text().strip()
    trust = Trust(Path(said["certificate"]))
    return connect(Target("127.0.0.1", said["port"], said["user"], password, trust), "mine", home)


def running(home: Path) -> list[int]:
    """QEMU processes of the emulator with this home."""
    tag = f"recovery-lab-esxi:{Spawner(home.resolve()).folder.name}:".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(word.startswith(tag) for word in words):
                found.append(int(entry.name))
    return found


def started(home: Path) -> EsxiHypervisor:
    host = driver(home)
    host.create_disk(DiskId("m1-system"), 8 * MIB)
    attachment = DiskAttachment(DiskId("m1-system"), "system")
    host.define(MachineSpec("m1", 1, 64, (attachment,), (), Management("52:54:00:00:00:01")))
    host.power_on("m1")
    return host


@pytest.mark.qemu
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_machine_outlives_the_emulator(tmp_path: Path, number: signal.Signals) -> None:
    with process(tmp_path) as emulator:
        started(tmp_path).site.session.stub.DropConnections()
        assert len(running(tmp_path)) == 1
        emulator.send_signal(number)
        emulator.wait(30)
        wait_until(lambda: not running(tmp_path), Deadline.after(10), "end of QEMU")
    with process(tmp_path):
        host = driver(tmp_path)
        assert list(host.machines()) == []
        assert [disk.id.name for disk in host.disks()] == ["m1-system"]
        host.close()


@pytest.mark.qemu
def test_what_a_crash_left_behind_is_ended_at_the_next_start(tmp_path: Path) -> None:
    """As if PDEATHSIG had not worked: a QEMU of this home whose parent is gone."""
    spawner = Spawner(tmp_path.resolve())
    spawner.prepare()
    folder = spawner.folder / "left-over"
    folder.mkdir()
    name = f"recovery-lab-esxi:{spawner.folder.name}:9"
    command = ["qemu-system-x86_64", "-M", "none", "-display", "none", "-name", name]
    command += ["-pidfile", str(folder / "qemu.pid"), "-daemonize"]
    subprocess.run(command, check=True, timeout=30)
    [pid] = running(tmp_path)
    assert Spawner(tmp_path.resolve()).prepare() == [pid]
    assert running(tmp_path) == []
    spawner.close()


def test_only_what_is_really_a_machine_of_it_is_ended(tmp_path: Path) -> None:
    spawner = Spawner(tmp_path.resolve())
    spawner.prepare()
    for name, pid in (("stranger", str(os.getpid())), ("nonsense", "x")):
        (spawner.folder / name).mkdir()
        (spawner.folder / name / "qemu.pid").write_text(pid)
    assert spawner.prepare() == []
    spawner.close()


def test_a_folder_that_somebody_else_prepared_is_not_used(tmp_path: Path) -> None:
    spawner = Spawner(tmp_path.resolve())
    spawner.folder.symlink_to(tmp_path)
    try:
        with pytest.raises(BackendError, match="is not this user's folder"):
            spawner.prepare()
    finally:
        spawner.folder.unlink()


@pytest.mark.qemu
def test_a_machine_that_switches_itself_off_is_off(tmp_path: Path) -> None:
    with process(tmp_path):
        host = started(tmp_path)
        [pid] = running(tmp_path)
        os.kill(pid, signal.SIGTERM)  # QEMU ends as after the guest's own power-off
        wait_until(lambda: host.power("m1") is PowerState.OFF, Deadline.after(10), "power-off", every=0.05)
        host.power_on("m1")
        host.close()


@pytest.mark.qemu
def test_a_machine_that_cannot_start_says_why(tmp_path: Path) -> None:
    with process(tmp_path):
        host = started(tmp_path)
        host.power_off("m1")
        (tmp_path / "datastore" / "recovery-lab-mine" / "disks" / "m1-system-flat.vmdk").unlink()
        with pytest.raises(Exception, match="No such file or directory"):
            host.power_on("m1")
        assert host.power("m1") is PowerState.OFF
        host.close()


@pytest.mark.skipif(shutil.which("virsh") is None, reason="virsh is not installed (apt-get install libvirt-clients)")
def test_libvirt_lists_the_machines(tmp_path: Path) -> None:
    """An independent client in C, unmodified: Debian's libvirt0 has the driver."""
    with process(tmp_path, "--acceleration", "memory"):
        host = driver(tmp_path)
        for name in ("m1", "m2"):
            host.define(MachineSpec(name, 1, 64, (), (), None))
        host.power_on("m2")
        port = json.loads((tmp_path / "endpoint.json").read_text())["port"]
        auth = tmp_path / "auth.conf"
        auth.touch(mode=0o600)
        password = (tmp_path / "password").read_text().strip()
        auth.write_text(
            f"[credentials-lab]\nusername=root\npassword={password}\n[auth-esx-127.0.0.1]\ncredentials=lab\n"
        )
        uri = f"esx://root@127.0.0.1:{port}/?no_verify=1"
        environment = os.environ | {"LIBVIRT_AUTH_FILE": str(auth)}
        said = subprocess.run(
            ["virsh", "-c", uri, "list", "--all"],
            capture_output=True, text=True, timeout=60, env=environment, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert said.returncode == 0, said.stderr
        rows = [line.split() for line in said.stdout.splitlines()[2:] if line]
        assert {(row[1], " ".join(row[2:])) for row in rows} == {("mine.m1", "shut off"), ("mine.m2", "running")}
        host.close()


def test_two_emulators_do_not_share_a_home(tmp_path: Path) -> None:
    with (
        serving(Choices(tmp_path, "memory")),
        pytest.raises(CannotStart, match="another emulated host uses"),
        serving(Choices(tmp_path, "memory")),
    ):
        pass


def test_the_password_comes_from_a_file_or_the_environment_or_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Choices(tmp_path / "a", "memory")) as found:
        made = tmp_path / "a" / "password"
        assert found.password_source == str(made)
        assert stat.S_IMODE(made.stat().st_mode) == 0o600
        assert len(made.read_text().strip()) >= 20
    given = tmp_path / "given"
    given.write_text("chosen\n")
    with serving(Choices(tmp_path / "b", "memory", password_file=given)) as found:
        assert found.password_source == str(given)
    given.write_text("\n")
    with pytest.raises(CannotStart, match="is empty"), serving(Choices(tmp_path / "b", "memory", password_file=given)):
        pass
    monkeypatch.setenv("ESXI_PASSWORD", "from outside")
    with serving(Choices(tmp_path / "c", "memory")) as found:
        assert "ESXI_PASSWORD" in found.password_source
        assert "from outside" not in repr(found)
        assert "from outside" not in (tmp_path / "c" / "endpoint.json").read_text()


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    with serving(Choices(tmp_path / "a", "memory")) as found:
        port = int(found.url.rpartition(":")[2].removesuffix("/sdk"))
        with pytest.raises(CannotStart, match=f"port {port}"), serving(Choices(tmp_path / "b", "memory", port)):
            pass
