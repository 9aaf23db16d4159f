"""The end of a service by a signal."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

SERVICE = """
import signal, threading
from lab.waiting import EndOfService
ended = EndOfService()
ready = threading.Event()

def beside():
    ready.wait()
    {kill}

threading.Thread(target=beside, daemon=True).start()
print(ended.wait(0.01), flush=True)
ready.set()
print(ended.wait(20.0), flush=True)
"""
TO_ANOTHER_THREAD = "signal.pthread_kill(threading.get_ident(), signal.{name})"
TO_THE_PROCESS = "signal.raise_signal(signal.{name})"


@pytest.mark.parametrize("name", [signal.SIGTERM.name, signal.SIGINT.name])
@pytest.mark.parametrize("kill", [TO_ANOTHER_THREAD, TO_THE_PROCESS])
def test_a_signal_ends_the_wait_whichever_thread_it_interrupts(name: str, kill: str) -> None:
    """With an event that the handler sets, the main thread would not hear of one that another thread took."""
    program = SERVICE.format(kill=kill.format(name=name))
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.split() == ["False", "True"]


def test_a_signal_before_the_wait_counts() -> None:
    program = "import signal\nfrom lab.waiting import EndOfService\nended = EndOfService()\n"
    program += "signal.raise_signal(signal.SIGTERM)\nprint(ended.wait(20.0))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert told.stdout.strip() == "True"
