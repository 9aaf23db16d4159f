"""A run of the suites on a lab takes its lab down when the command that started it is ended."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lab.defects.patience import patience

ROOT = Path(__file__).parents[2]
COMMAND = """
import os, sys
from pathlib import Path
from lab.defects.lab_runs import _ended
from lab.interrupts import end_on_sigterm
end_on_sigterm()
_ended([sys.executable, "-c", sys.argv[1]], Path.cwd(), os.environ)
"""
RUN = """
import signal, sys
def down(*_):
    print("taken down", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, down)
print("up", flush=True)
signal.pause()
"""


def test_sigterm_reaches_the_run_too() -> None:
    with subprocess.Popen([sys.executable, "-c", COMMAND, RUN], cwd=ROOT, stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout is not None
        assert command.stdout.readline() == "up\n"
        command.terminate()
        told, _ = command.communicate(timeout=60 * patience())
    assert told == "taken down\n"
    assert command.returncode, "the command ends too"
