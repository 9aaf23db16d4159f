"""The archive in front of an initramfs, how a change-log disk is divided, and the script that runs at boot."""

import json
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lab.replication.mobility import boot, device_mapper
from lab.replication.mobility.boot.cpio import archive, leading_archive
from lab.replication.mobility.boot.layout import FIRST_BYTE, MIB, SMALLEST_AREA, Area, ChangeLogTooSmall, Layout, divide
from lab.replication.mobility.boot.prepare import (
    CHANGE_LOG_NAME,
    install,
    remove,
    sizes_of_first_time,
    without_capture,
)

SCRIPT = Path(boot.__file__).parent / "mobility.sh"
FILES = {
    CHANGE_LOG_NAME: (b"changes 2048 4096\n", 0o644),
    "scripts/mobility": (b"#!/bin/sh\n", 0o755),
    "conf/conf.d/mobility": (b"BOOT=mobility\n", 0o644),
}
MICROCODE = archive({"kernel/x86/microcode/GenuineIntel.bin": (b"\0\1\2" * 100, 0o644)})
NAME = st.from_regex(r"[a-z0-9._-]{1,12}", fullmatch=True).filter(lambda name: name not in {".", ".."})
CONTENTS = st.dictionaries(
    st.lists(NAME, min_size=1, max_size=3).map("/".join),
    st.tuples(st.binary(max_size=70), st.sampled_from([0o644, 0o755, 0o600])),
    min_size=1,
    max_size=5,
)


def no_folder_is_a_file(files: dict[str, tuple[bytes, int]]) -> bool:
    return not any(other.startswith(f"{name}/") for name in files for other in files)


@given(CONTENTS.filter(no_folder_is_a_file), st.binary(max_size=600))
def test_the_end_of_an_archive_is_found_whatever_follows(files: dict[str, tuple[bytes, int]], rest: bytes) -> None:
    made = archive(files)
    names, end = leading_archive(made + rest)
    assert end == len(made)
    assert end % 512 == 0
    assert set(files) <= set(names)
    folders = set(names) - set(files)
    assert all(any(name.startswith(f"{folder}/") for name in files) for folder in folders)
    assert all(
        names.index(folder) < names.index(name) for folder in folders for name in files if name.startswith(folder)
    )


@given(st.binary(max_size=300))
def test_anything_else_is_no_archive(image: bytes) -> None:
    assert leading_archive(image) == ([], 0)
    assert leading_archive(b"070701" + image) == ([], 0)


@given(st.integers(0, len(archive(FILES)) - 513))
def test_an_archive_without_its_end_is_none(length: int) -> None:
    assume(b"TRAILER" not in archive(FILES)[:length])
    assert leading_archive(archive(FILES)[:length]) == ([], 0)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("size", [b"-0000074", b"+0000010", b"0x000010", b" _______", b"zzzzzzzz", b"\xff" * 8])
def test_a_header_with_no_number_is_no_archive(size: bytes) -> None:
    image = bytearray(MICROCODE)
    image[6 + 48 : 6 + 56] = size
    assert leading_archive(bytes(image)) == ([], 0)


def test_a_name_in_another_encoding_does_no_harm() -> None:
    image = archive({"abc": (b"", 0o644)}).replace(b"abc", b"\xff\xfea")
    names, end = leading_archive(image)
    assert len(names) == 1
    assert end == len(image)


@pytest.mark.skipif(shutil.which("cpio") is None, reason="cpio is not installed")
def test_cpio_reads_the_archive(tmp_path: Path) -> None:
    made = archive(FILES)
    listed = subprocess.run(["cpio", "-t", "--quiet"], input=made, check=True, capture_output=True)
    assert set(FILES) < set(listed.stdout.decode().split())
    subprocess.run(["cpio", "-i", "--quiet"], input=made, check=True, cwd=tmp_path)
    for name, (content, mode) in FILES.items():
        assert (tmp_path / name).read_bytes() == content
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    assert stat.S_IMODE((tmp_path / "mobility").stat().st_mode) == 0o755


IMAGES = st.builds(bytes.__add__, st.sampled_from([b"", MICROCODE]), st.binary(max_size=100))


@settings(max_examples=30)
@given(image=IMAGES)
def test_what_was_installed_comes_out_again(image: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("boot") / "initrd.img"
    path.write_bytes(image)
    install(archive(FILES), path)
    once = path.read_bytes()
    assert once == archive(FILES) + image
    install(archive(FILES), path)
    assert path.read_bytes() == once
    changed = archive({**FILES, "mobility/more": (b"x", 0o644)})
    install(changed, path)
    assert path.read_bytes() == changed + image
    assert without_capture(path.read_bytes()) == image
    assert without_capture(image) == image


def test_the_capture_goes_from_every_initramfs_and_leaves_them_as_they_were(tmp_path: Path) -> None:
    images = {"initrd.img-6.1.0-1": (b"one" * 99, 0o644), "initrd.img-6.1.0-2": (MICROCODE + b"two", 0o600)}
    for name, (content, mode) in images.items():
        (tmp_path / name).write_bytes(content)
        (tmp_path / name).chmod(mode)
        install(archive(FILES), tmp_path / name)
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode
    other, hook, state = tmp_path / "vmlinuz-6.1.0-1", tmp_path / "hook", tmp_path / "state"
    for path in (other, hook, state):
        path.write_bytes(b"x")
    for _ in range(2):
        remove(hook, state, tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*images, other.name])
        for name, (content, mode) in images.items():
            assert (tmp_path / name).read_bytes() == content
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


def test_a_microcode_archive_is_not_ours() -> None:
    assert without_capture(MICROCODE + b"rest") == MICROCODE + b"rest"
    assert without_capture(archive(FILES) + MICROCODE + b"rest") == MICROCODE + b"rest"


SIZES = st.lists(st.integers(MIB, 4 << 40), min_size=1, max_size=6)


def areas_of(layout: Layout) -> list[Area]:
    return [area for disk in layout.disks for area in (disk.a, disk.b)] + [layout.spool]


@given(st.integers(0, 1 << 40), SIZES)
def test_areas_are_disjoint_inside_the_disk_and_always_the_same(change_log: int, disks: list[int]) -> None:
    try:
        layout = divide(change_log, disks)
    except ChangeLogTooSmall:
        return
    assert layout == divide(change_log, disks)
    assert len(layout.disks) == len(disks)
    position = FIRST_BYTE
    for area in areas_of(layout):
        assert area.start == position
        assert area.size >= SMALLEST_AREA
        assert area.start % MIB == area.size % MIB == 0
        assert (area.first_sector * 512, area.sectors * 512) == (area.start, area.size)
        position = area.start + area.size
    assert position <= change_log
    assert all(disk.a.size == disk.b.size for disk in layout.disks)


@given(st.integers(1 << 30, 1 << 40), st.lists(st.integers(MIB, 1 << 40), min_size=2, max_size=4))
def test_a_larger_disk_never_gets_less(change_log: int, disks: list[int]) -> None:
    try:
        layout = divide(change_log, disks)
    except ChangeLogTooSmall:
        return
    shares = sorted(zip(disks, (disk.a.size for disk in layout.disks), strict=True))
    assert [share for _, share in shares] == sorted(share for _, share in shares)


@given(SIZES)
def test_a_disk_that_is_too_small_is_refused_with_a_size_that_is_not(disks: list[int]) -> None:
    with pytest.raises(ChangeLogTooSmall, match=r"at least \d+ MiB") as caught:
        divide(32 * MIB, disks)
    advice = int(str(caught.value).split()[-2]) * MIB
    assert len(divide(advice, disks).disks) == len(disks)
    with pytest.raises(ChangeLogTooSmall):
        divide(advice - 8 * MIB, disks)


@pytest.mark.parametrize("shell", ["sh", "dash", "bash", "busybox"])
def test_the_boot_script_is_understood_by_every_shell(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command = [shell, *(["sh"] if shell == "busybox" else []), "-n", str(SCRIPT)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_broken_script_would_be_found(tmp_path: Path) -> None:
    broken = tmp_path / "broken.sh"
    broken.write_text(SCRIPT.read_text().replace("\n}\n", "\n", 1))
    assert subprocess.run(["sh", "-n", str(broken)], check=False, capture_output=True).returncode != 0


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    done = subprocess.run(["shellcheck", "-s", "sh", str(SCRIPT)], check=False, capture_output=True, text=True)
    assert done.stdout == ""


def test_the_kernels_structures_have_their_sizes() -> None:
    """``struct dm_ioctl`` and ``struct dm_target_spec``; the size of the first is part of every ioctl number."""
    assert device_mapper._HEADER.size == 312
    assert device_mapper._TARGET.size == 40
    for command in (device_mapper._SUSPEND, device_mapper._TABLE_LOAD, device_mapper._TABLE_STATUS):
        assert command >> 16 & 0x3FFF == device_mapper._HEADER.size
        assert command >> 8 & 0xFF == 0xFD


def test_a_disk_that_has_grown_does_not_move_the_areas(tmp_path: Path) -> None:
    state, disks = tmp_path / "capture.json", [("system", "s1"), ("data", "d1")]
    assert sizes_of_first_time(state, disks, "changes") is None
    written = {"disks": disks, "change_log": "changes", "sizes": [900 * MIB, 256 * MIB]}
    state.write_text(json.dumps(written))
    assert sizes_of_first_time(state, disks, "changes") == written["sizes"]
    assert sizes_of_first_time(state, disks[:1], "changes") is None, "other disks are divided anew"
    assert sizes_of_first_time(state, disks, "other") is None
    state.write_text(json.dumps({"disks": disks, "change_log": "changes"}))
    assert sizes_of_first_time(state, disks, "changes") is None, "an older installation did not write them down"
