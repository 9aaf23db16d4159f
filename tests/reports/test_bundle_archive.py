"""Archives are unpacked as if an enemy had written them; the command line says what it found, and how, by exit code."""

from __future__ import annotations

import gzip
import io
import json
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from sealed_run import sealed_run
from test_bundle import KEY, PINNED

from lab.errors import BadInput
from reports.bundle.archive import Limits, opened, pack, unpack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sealed_run(tmp_path_factory.mktemp("packed"), KEY)


def member(name: str, content: bytes = b"x", **more: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def archive_of(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content) if info.isreg() else None)
    return path


EVIL: dict[str, list[tuple[tarfile.TarInfo, bytes]]] = {
    "leads outside": [member("run/../../outside")],
    "is absolute": [member("/tmp/outside")],
    "is a link": [member("run/link", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd")],
    "is a hard link": [member("run/a"), member("run/link", b"", type=tarfile.LNKTYPE, linkname="run/a")],
    "goes through a link": [member("run/d", b"", type=tarfile.SYMTYPE, linkname="/tmp"), member("run/d/outside")],
    "is a device": [member("run/null", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "is a pipe": [member("run/pipe", b"", type=tarfile.FIFOTYPE)],
    "comes twice": [member("run/a"), member("run/a", b"y")],
    "is a file and a folder": [member("run/a"), member("run/a/b")],
}


@pytest.mark.parametrize("members", EVIL.values(), ids=EVIL.keys())
def test_what_must_not_be_unpacked_is_refused(tmp_path: Path, members: list) -> None:
    bundle = archive_of(tmp_path / "evil.tar.gz", *members)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(BadInput):
        unpack(bundle, target, Limits())
    assert not (tmp_path / "outside").exists()
    assert not Path("/tmp/outside").exists()
    assert not any(path.is_symlink() for path in target.rglob("*"))


def test_a_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bundle = archive_of(tmp_path / "bomb.tar.gz", member("run/zeros", bytes(32 << 20)))
    with pytest.raises(BadInput, match="unpacks to more than"):
        unpack(bundle, tmp_path / "t", Limits(free=1 << 20, ratio=10))
    many = archive_of(tmp_path / "many.tar.gz", *[member(f"run/{number}") for number in range(20)])
    with pytest.raises(BadInput, match="more than 10 files"):
        unpack(many, tmp_path / "u", Limits(files=10))


def test_a_header_that_claims_gigabytes_ends_early(tmp_path: Path) -> None:
    info = tarfile.TarInfo("run/pax")
    info.size, info.type = 1 << 40, tarfile.XHDTYPE
    bundle = tmp_path / "header.tar.gz"
    bundle.write_bytes(gzip.compress(info.tobuf() + bytes(4 << 20)))
    with pytest.raises(BadInput):
        unpack(bundle, tmp_path / "t", Limits(free=1 << 20, ratio=1))


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no archive", mtime=0), b"\x1f\x8bbroken"])
def test_what_is_no_archive_is_bad_input(tmp_path: Path, content: bytes) -> None:
    bundle = tmp_path / "bundle.tar.gz"
    bundle.write_bytes(content)
    with pytest.raises(BadInput), opened(bundle):
        pass


def test_packing_is_the_same_for_the_same_files_and_comes_back(run_dir: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one.tar.gz", tmp_path / "two.tar.gz"
    pack(run_dir, one)
    pack(run_dir, two)
    assert one.read_bytes() == two.read_bytes()
    with opened(one) as folder:
        for path in run_dir.rglob("*"):
            if path.is_file():
                assert (folder / path.relative_to(run_dir)).read_bytes() == path.read_bytes()


Lab = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """Run ``lab`` as on a machine without libvirt, without network, and with an empty home."""
    program = "import sys; sys.modules['libvirt'] = None; sys.argv[0] = 'lab'; from lab.cli import main; main()"

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-c", program, *map(str, arguments)]
        environment = {"PYTHONPATH": str(ROOT), "RECOVERY_LAB_HOME": str(tmp_path / "home"), "PATH": ""}
        return subprocess.run(
            words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    return run


def test_the_command_tells_by_its_exit_code(lab: Lab, run_dir: Path, tmp_path: Path) -> None:
    bundled = lab("bundle", run_dir, "--out", tmp_path / "run.tar.gz")
    assert bundled.returncode == 0, bundled.stderr
    good = lab("verify", tmp_path / "run.tar.gz", "--key", PINNED)
    assert (good.returncode, "genuine" in good.stdout) == (0, True), good.stdout + good.stderr
    other = lab("verify", tmp_path / "run.tar.gz", "--key", "0" * 64, "--json")
    assert (other.returncode, json.loads(other.stdout)["genuine"]) == (1, False)
    (tmp_path / "text").write_text("no bundle")
    for wrong in (("verify", tmp_path / "text"), ("verify", tmp_path / "none"), ("verify", run_dir, "--key", "x")):
        told = lab(*wrong)
        assert (told.returncode, "Traceback" in told.stderr) == (2, False), told.stderr
    with tarfile.open(tmp_path / "run.tar.gz") as archive:
        archive.extractall(tmp_path / "copy", filter="data")
    (tmp_path / "copy" / run_dir.name / "machines" / "app1" / "console.log").write_text("")
    bad = lab("verify", tmp_path / "copy" / run_dir.name)
    assert bad.returncode == 1
    assert "machines/app1/console.log: was changed" in bad.stdout
    shown = lab("evidence-key")
    assert "PRIVATE" not in shown.stdout
    assert shown.stdout.startswith("-----BEGIN PUBLIC KEY-----")
