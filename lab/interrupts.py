"""SIGTERM ends a command of the lab as Ctrl-C does: what it has made is taken down first.

That is how CI cancels a job and how ``systemctl stop`` ends a nightly one.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130
_ENDING = frozenset({signal.SIGINT, signal.SIGTERM})


class Terminated(KeyboardInterrupt):
    """SIGTERM came. Unlike Ctrl-C it reached this process alone, not its children."""


def end_on_sigterm() -> None:
    """From now on SIGTERM raises ``Terminated`` in the main thread, which has to call this."""
    signal.signal(signal.SIGTERM, _raise)


def exit_code_of(child: subprocess.Popen[bytes]) -> int:
    """Wait for a child that ends on signals by itself, as long as it takes, and return its exit code.

    After Ctrl-C, which the terminal sent to it too, and after SIGTERM, which is passed on: ``INTERRUPTED``.
    """
    try:
        return child.wait()
    except KeyboardInterrupt as end:
        pass_on(end, child)
        child.wait()
        return INTERRUPTED


def pass_on(end: KeyboardInterrupt, child: subprocess.Popen[bytes]) -> None:
    """Let a child hear of what ends this process: of Ctrl-C the terminal has told it, SIGTERM came here alone."""
    if isinstance(end, Terminated):
        child.terminate()


@contextmanager
def held_back() -> Iterator[None]:
    """Hold SIGINT and SIGTERM back until the end of the block: what a handler raises while Python forks is lost.

    A child that is forked inside begins with both held back, and calls ``let_in``.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
    try:
        yield
    finally:
        let_in()


def let_in() -> None:
    """Hold SIGINT and SIGTERM back no longer."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)


def _raise(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated
