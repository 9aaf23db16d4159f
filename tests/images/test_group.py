"""What builds images is asked to end, with all that it started, before it is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.images import group
from lab.images.group import run_group
from lab.waiting import Deadline, wait_until

TIDY = 'trap "rm mounted; exit 3" TERM; touch mounted; echo begun; sleep 60 & echo $! >child; wait'
"""Tidies up when it is asked to end; what it has started has to be asked itself."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def require_gone(child: Path) -> None:
    """Wait for the end of a process, which its group was asked for already."""
    wait_until(lambda: _is_gone(child.read_text().strip()), Deadline.after(20), f"end of {child.name}")


def _is_gone(child: str) -> bool:
    """Whether a process is no more; one that nobody has waited for is none either."""
    try:
        state = Path(f"/proc/{child}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


def test_output_and_exit_code_are_the_programs(folder: Path) -> None:
    assert run_group(["sh", "-c", "echo out; echo err >&2; exit 7"], folder / "log", 20) == 7
    assert (folder / "log").read_text() == "out\nerr\n"


def test_what_does_not_end_in_time_tidies_up(folder: Path) -> None:
    with pytest.raises(LabError, match="sh did not end within 4 s") as failure:
        run_group(["sh", "-c", TIDY], folder / "log", 4)
    assert failure.value.hint == f"whole log: {folder / 'log'}"
    assert (folder / "log").read_text().startswith("begun")
    assert not (folder / "mounted").exists()
    require_gone(folder / "child")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Python's own handler: a shell has its jobs in the background ignore SIGINT, and what they start inherits that."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_build_tidies_up(folder: Path) -> None:
    def interrupt() -> None:
        child = folder / "child"
        wait_until(lambda: child.exists() and child.stat().st_size, Deadline.after(20), "begin of the program")
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        run_group(["sh", "-c", TIDY], folder / "log", 30)
    assert (folder / "log").read_text().startswith("begun")
    assert not (folder / "mounted").exists()
    require_gone(folder / "child")


def test_what_does_not_listen_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group, "TIDY_SECONDS", 0.5)
    ended: list[subprocess.Popen[bytes]] = []
    end = group._end
    monkeypatch.setattr(group, "_end", lambda process: (ended.append(process), end(process)))
    with pytest.raises(LabError, match="did not end"):
        run_group(["sh", "-c", "trap '' TERM; while true; do sleep 1; done"], folder / "log", 0.5)
    assert ended[0].returncode == -signal.SIGKILL
