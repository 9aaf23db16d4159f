"""Boot media: what they are made of, and what the installer on them does to a machine in QEMU."""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import LabError
from lab.home import home
from lab.hypervisors.translated import PROCESSOR
from lab.images.cache import Image, ImageCache
from lab.images.disk import write_disk
from lab.images.identity import Identity
from lab.images.inside import ImageFiles
from lab.images.medium import (
    DONE,
    REFUSED,
    SCRIPT,
    TOKEN_FILE,
    Installation,
    TargetDisk,
    module_order,
    settings_text,
    write_medium,
)
from lab.images.stream import ImageStream, image_stream

MIB = 1 << 20
RECIPE, SYSTEM_BYTES = "debian-12", 900 * MIB
BOOT_SECONDS = 400
DISKS = (TargetDisk("system", SYSTEM_BYTES), TargetDisk("data", 64 * MIB))
NAMES = st.lists(st.from_regex(r"[a-z]{1,5}", fullmatch=True), unique=True, min_size=1, max_size=8)


@given(names=NAMES, wanted=st.data())
def test_every_module_comes_after_what_it_needs(names: list[str], wanted: st.DataObject) -> None:
    needs = {
        name: wanted.draw(st.sets(st.sampled_from(names[:place] or [name]))) - {name}
        for place, name in enumerate(names)
    }
    text = "".join(f"kernel/{name}.ko: {' '.join(f'kernel/{other}.ko' for other in needs[name])}\n" for name in names)
    chosen = tuple(wanted.draw(st.lists(st.sampled_from([*names, "absent"]), max_size=4)))
    present = frozenset(wanted.draw(st.sets(st.sampled_from(names))))
    order = [path.removeprefix("kernel/").removesuffix(".ko") for path in module_order(text, chosen, present)]
    assert len(set(order)) == len(order)
    assert present.isdisjoint(order)
    assert {name for name in chosen if name in needs} <= {*order, *present}
    for place, name in enumerate(order):
        assert needs[name] <= {*order[:place], *present}


@pytest.mark.parametrize("serial", ["", "two words", "x; reboot\n", "ä", "x" * 65])
def test_a_serial_number_that_none_can_be_is_refused(identity: Identity, serial: str) -> None:
    installation = Installation(identity, (TargetDisk(serial, MIB),), "t")
    with pytest.raises(ValueError, match="no serial number"):
        settings_text(installation, ImageStream(Path(), "d", 1))


def test_settings_are_words_for_a_shell(identity: Identity) -> None:
    texts = settings_text(Installation(identity, DISKS, "$(reboot)"), ImageStream(Path(), "ab", 7))
    assert texts["settings"] == "TOKEN='$(reboot)'\nDIGEST=ab\nIMAGE_BYTES=7\n"
    assert texts["disks"] == f"system {SYSTEM_BYTES}\ndata {64 * MIB}\n"


def test_the_installer_says_what_is_looked_for() -> None:
    name = DONE.split(":")[0]
    assert f"{name}: refused:" == REFUSED
    text = SCRIPT.read_text()
    for words in (f'echo "{name}: $*"', 'install_say "done $TOKEN"', 'install_say "refused: $*"', TOKEN_FILE):
        assert words in text


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", "-s", "sh", str(SCRIPT)], check=False, capture_output=True, text=True)
    assert done.stdout == ""


@pytest.mark.skipif(shutil.which("debugfs") is None and not Path("/sbin/debugfs").exists(), reason="no debugfs")
def test_files_are_read_out_of_an_image_and_links_followed(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "lib/modules/6.1.0-test").mkdir(parents=True)
    (root / "lib/liba.so.1.2").write_text("library")
    (root / "lib/liba.so.1").symlink_to("liba.so.1.2")
    disk = tmp_path / "disk.raw"
    write_disk(root, disk, 64 * MIB, "6f0f7a52-2f0b-4d58-9a57-6f1b5c1d7e12")
    files, found = ImageFiles(disk), tmp_path / "out" / "found"
    assert files.kernel_release() == "6.1.0-test"
    files.read("/lib/liba.so.1", found)
    assert found.read_text() == "library"
    with pytest.raises(LabError, match=r"disk\.raw has no file /lib/libb\.so"):
        files.read("/lib/libb.so", found)
    assert not found.exists()


def test_a_stream_is_made_once_and_names_its_digest(tmp_path: Path) -> None:
    disk = tmp_path / "disk.raw"
    disk.write_bytes(b"x" * MIB + bytes(MIB))
    first = image_stream(disk)
    made = first.path.stat().st_mtime_ns
    assert image_stream(disk) == first
    assert first.path.stat().st_mtime_ns == made
    said = subprocess.run(["sha256sum", str(first.path)], check=True, capture_output=True, text=True).stdout
    assert said.split()[0] == first.digest
    assert first.image_bytes == 2 * MIB


@dataclass(frozen=True)
class Kit:
    """A cached image with its stream, and a folder for media and disks."""

    image: Image
    stream: ImageStream
    folder: Path

    def boot(self, installation: Installation, sizes: dict[str, int], *, damaged: bool = False) -> tuple[str, bool]:
        """Boot a medium with empty disks, which keep their names; return the console and whether it went off."""
        medium, console = self.folder / "medium.iso", self.folder / "console.log"
        stream = replace(self.stream, digest="0" * 64) if damaged else self.stream
        write_medium(installation, self.image, stream, medium)
        command = ["qemu-system-x86_64", "-M", "pc", "-m", "384", "-cpu", PROCESSOR, "-nodefaults", "-display", "none",
                   "-no-reboot", "-boot", "d", "-cdrom", str(medium), "-serial", f"file:{console}"]  # fmt: skip
        for name, size in sizes.items():
            disk = self.folder / f"{name}.raw"
            with disk.open("wb") as file:
                file.write(b"old")
                file.truncate(size)
            command += ["-drive", f"file={disk},format=raw,if=none,id={name}"]
            command += ["-device", f"virtio-blk-pci,drive={name},serial={name}"]
        with subprocess.Popen(command) as qemu:
            try:
                ended = _wait(qemu, console)
            finally:
                qemu.kill()
        return console.read_text(errors="replace"), ended


def _wait(qemu: "subprocess.Popen[bytes]", console: Path) -> bool:
    """Wait until the machine is off (true) or says that it refuses (false)."""
    for _ in range(BOOT_SECONDS):
        try:
            qemu.wait(1)
        except subprocess.TimeoutExpired:
            if console.exists() and REFUSED in console.read_text(errors="replace"):
                return False
        else:
            return True
    raise AssertionError(f"no end: {console.read_text(errors='replace')[-2000:]}")


@pytest.fixture(scope="module")
def kit() -> Iterator[Kit]:
    missing = [name for name in ("qemu-system-x86_64", "genisoimage", "grub-mkimage", "cpio") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    cache = ImageCache(home() / "images")
    image = cache.lookup(RECIPE, SYSTEM_BYTES)
    if image is None:
        pytest.skip(f"the image {RECIPE} is not built yet: lab up topologies/embedded.yaml builds it")
    with tempfile.TemporaryDirectory(prefix="medium-test-", dir="/var/tmp") as folder:
        yield Kit(image, cache.stream(image), Path(folder))


@pytest.mark.qemu
@pytest.mark.timeout(600)
def test_a_machine_is_installed_and_switched_off(kit: Kit, identity: Identity, tmp_path: Path) -> None:
    console, off = kit.boot(Installation(identity, DISKS, "token-1"), {"data": 64 * MIB, "system": 1000 * MIB})
    assert off, console
    assert f"{DONE} token-1" in console
    data = (kit.folder / "data.raw").read_bytes()
    assert data == bytes(64 * MIB), "another disk is emptied"
    installed = ImageFiles(kit.folder / "system.raw")
    for path, text in (
        (TOKEN_FILE, "token-1\n"),
        ("/etc/hostname", "app1\n"),
        ("/etc/ssh/ssh_host_ed25519_key", identity.host_key.private),
        ("/root/.ssh/authorized_keys", "\n".join([*identity.authorized_keys, ""])),
    ):
        installed.read(path, tmp_path / "found")
        assert (tmp_path / "found").read_text() == text, path
        (tmp_path / "found").unlink()


@pytest.mark.qemu
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("sizes", "damaged", "reason"),
    [
        ({"data": 64 * MIB}, False, "no disk with the serial number system"),
        ({"system": 800 * MIB, "data": 64 * MIB}, False, "disk system has 838860800 bytes, 943718400 are needed"),
        ({"system": 900 * MIB, "data": 64 * MIB}, True, "the image on the medium is damaged"),
    ],
)
def test_a_machine_that_cannot_be_installed_is_left_as_it_was(
    kit: Kit, identity: Identity, sizes: dict[str, int], damaged: bool, reason: str
) -> None:
    console, off = kit.boot(Installation(identity, DISKS, "token-2"), sizes, damaged=damaged)
    assert not off
    assert f"{REFUSED} {reason}" in console
    for name in sizes:
        assert (kit.folder / f"{name}.raw").read_bytes()[:3] == b"old"
