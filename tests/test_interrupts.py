"""SIGTERM ends a command and the pytest that it started in order, also where Ctrl-C is ignored (``nohup ... &``)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMAND = """
import subprocess, sys
from lab.interrupts import end_on_sigterm, exit_code_of
end_on_sigterm()
with subprocess.Popen(sys.argv[1:]) as child:
    print("command", exit_code_of(child), flush=True)
"""
FORK = """
import os, signal
from lab.interrupts import end_on_sigterm, held_back
end_on_sigterm()
os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGTERM))
try:
    with held_back():
        child = os.fork()
        if not child:
            os._exit(0)
    print("lost")
except KeyboardInterrupt:
    print("heard")
os.waitpid(child, 0)
"""
SUITE = """
import threading
import pytest

@pytest.fixture
def made():
    yield
    print("taken down", flush=True)

def test_long(made):
    print("running", flush=True)
    threading.Event().wait(60)
"""
SECONDS = 60


@contextmanager
def started(arguments: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A process as a shell starts it in the background: it ignores SIGINT."""
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ})
    finally:
        signal.signal(signal.SIGINT, ignored)
    with child:
        try:
            yield child
        finally:
            child.kill()


def test_sigterm_ends_the_suites_and_their_fixtures_too(tmp_path: Path) -> None:
    suite = tmp_path / "test_long.py"
    suite.write_text(SUITE)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["fixtures.options"]\n')
    pytest_command = [
        sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", f"--rootdir={tmp_path}",
        "-c", os.devnull, f"--confcutdir={tmp_path}", f"--topology={ROOT / 'topologies/embedded.yaml'}", str(suite),
    ]  # fmt: skip
    with started([sys.executable, "-c", COMMAND, *pytest_command]) as command:
        assert command.stdout is not None
        for line in command.stdout:
            if "running" in line:
                break
        command.terminate()
        told, _ = command.communicate(timeout=SECONDS)
    assert "taken down" in told
    assert told.splitlines()[-1] == "command 130"


def test_without_a_signal_the_exit_code_is_that_of_the_child() -> None:
    child = [sys.executable, "-c", "raise SystemExit(5)"]
    with started([sys.executable, "-c", COMMAND, *child]) as command:
        told, _ = command.communicate(timeout=SECONDS)
    assert told.split() == ["command", "5"]


def test_a_signal_that_comes_while_python_forks_is_heard_afterwards() -> None:
    """What a handler raises there is printed and lost: a command went on as if nothing had been said."""
    with started([sys.executable, "-c", FORK]) as command:
        told, _ = command.communicate(timeout=SECONDS)
    assert told.split() == ["heard"]
