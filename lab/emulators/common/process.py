"""An emulated product as a process: it serves until a signal, and says where."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from lab.emulators.common.home import CannotStart
from lab.waiting import EndOfService

LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"


class Answering(Protocol):
    """A product that answers: where, and who may come."""

    @property
    def url(self) -> str:
        """Where clients connect."""

    @property
    def certificate(self) -> Path:
        """What they trust."""

    @property
    def user(self) -> str:
        """Who may do everything."""

    @property
    def password_source(self) -> str:
        """Where the password is; never the password."""


Found = TypeVar("Found", bound=Answering)


def serve_until_signal(serving: AbstractContextManager[Found], ready: Callable[[Found], None]) -> None:
    """Serve until SIGTERM or SIGINT; ``ready`` is told once when clients may come. Raises CannotStart."""
    ended = EndOfService()
    with serving as found:
        ready(found)
        ended.wait()


def run_program(serving: AbstractContextManager[Answering], name: str, failure: type[Exception]) -> int:
    """Serve as a process of a lab and return the exit code; what lies outside of the program is said in one line."""
    log = logging.getLogger(name)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        serve_until_signal(
            serving, lambda found: log.info("emulated host at %s, certificate %s", found.url, found.certificate)
        )
    except (CannotStart, failure, OSError) as error:
        log.error("%s", error)  # noqa: TRY400 - the cause is outside of this program
        return 2
    return 0
