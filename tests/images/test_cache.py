"""One process builds images at a time, and what a killed one has left is removed by the next."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.images import cache
from lab.images.cache import ImageCache
from lab.images.group import run_group
from lab.waiting import Deadline, wait_until

SIZE = 900 << 20
KILLED = """
import os, signal, sys
from pathlib import Path
from lab.images import cache
from lab.images.group import run_group

folder = Path(sys.argv[1])
with cache._locked(folder / "lock"):
    run_group(["sh", "-c", "echo $$ >builder; exec sleep 60"], folder / "log", 60)
"""


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are built at once, of next to nothing."""

    def rootfs(_recipe: object, root: Path, _log: Path) -> None:
        assert run_group(["true"], root.parent / "log", 20) == 0
        (root / "boot").mkdir(parents=True)
        for name in ("vmlinuz-6", "initrd.img-6"):
            (root / "boot" / name).write_bytes(b"x")

    monkeypatch.setattr(cache, "build_rootfs", rootfs)
    monkeypatch.setattr(cache, "write_disk", lambda _root, disk, *_: disk.write_bytes(b"x"))


@pytest.mark.usefixtures("built")
def test_what_a_killed_build_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "build-abandoned" / "root" / "etc").mkdir(parents=True)
    image = ImageCache(tmp_path).provide("debian-12", SIZE)
    assert image.disk.is_file()
    assert list(tmp_path.glob("build-*")) == []


@pytest.mark.usefixtures("built")
def test_nobody_builds_while_what_a_killed_lab_had_started_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LOCK_SECONDS", 1.0)
    lab = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], cwd=tmp_path, env={**os.environ})
    builder = int(wait_until(lambda: _said(tmp_path / "builder"), Deadline.after(60), "builder"))
    try:
        lab.kill()
        lab.wait(20)
        with pytest.raises(LabError, match="end of another build"):
            ImageCache(tmp_path).provide("debian-12", SIZE)
    finally:
        os.kill(builder, signal.SIGKILL)
    monkeypatch.setattr(cache, "LOCK_SECONDS", 20.0)
    assert ImageCache(tmp_path).provide("debian-12", SIZE).disk.is_file()


def _said(file: Path) -> str:
    return file.read_text(encoding="ascii").strip() if file.exists() else ""
