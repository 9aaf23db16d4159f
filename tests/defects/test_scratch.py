"""Folders of probes: a process that was killed leaves its own, and the next run removes it, and no other."""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.defects import scratch

OWNER = "import sys; from lab.defects.scratch import new_scratch; print(new_scratch(), flush=True); sys.stdin.read()"
NEXT_RUN = "from lab.defects.probing import probe; assert not list(probe([], 1))"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[str]]:
    """A process with a folder, whose path it prints."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    command = [sys.executable, "-c", OWNER]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        yield process
        process.kill()


def test_what_a_killed_process_left_is_removed_by_the_next_run(owner: subprocess.Popen[str]) -> None:
    assert owner.stdout is not None
    folder = Path(owner.stdout.readline().strip())
    (folder / "pytest").mkdir()
    other = folder.with_name("recovery-lab-probe")
    other.mkdir()
    scratch.remove_abandoned()
    assert folder.is_dir(), "it is in use"
    owner.send_signal(signal.SIGKILL)
    owner.wait(60)
    assert folder.is_dir()
    subprocess.run([sys.executable, "-c", NEXT_RUN], cwd=ROOT, check=True, timeout=100)
    assert (folder.exists(), other.is_dir()) == (False, True)


def test_a_folder_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    make = tempfile.mkdtemp

    def make_and_lose_the_first(prefix: str) -> str:
        made.append(make(prefix=prefix, dir=tmp_path))
        if len(made) == 1:
            Path(made[0]).rmdir()
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose_the_first)
    assert str(scratch.new_scratch()) == made[1]


def test_what_is_no_folder_or_a_way_to_another_one_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"{scratch.PREFIX}link").symlink_to("elsewhere")
    (tmp_path / f"{scratch.PREFIX}file").touch()
    scratch.remove_abandoned()
    assert len(list(tmp_path.iterdir())) == 3
