"""SIGTERM ends the bench as Ctrl-C does, so that its lab is taken down."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

import lab.bench.__main__ as command
from lab.interrupts import Terminated


def test_sigterm_unwinds_what_is_running(monkeypatch: pytest.MonkeyPatch) -> None:
    unwound = []

    def run(_: Callable[..., None]) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            unwound.append("taken down")

    monkeypatch.setattr(command.typer, "run", run)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(Terminated):
            command.main()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert unwound
