"""What is asked for, where rows go, and what went wrong: it must not take other rows with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from lab.bench.rows import Report
from lab.errors import BadInput, LabError
from lab.provision.board import Board


@dataclass(frozen=True)
class Problems:
    """Errors that were put aside: told at once, and again at the end."""

    board: Board
    found: list[str] = field(default_factory=list)

    @contextmanager
    def put_aside(self, what: str) -> Iterator[None]:
        """Go on after the block whatever its errors are. What somebody asked for wrongly is raised."""
        try:
            yield
        except BadInput:
            raise
        except (LabError, TimeoutError, LookupError, ValueError) as error:
            self.found.append(f"{what}: {error}")
            self.board.step(what, f"no row: {error}")

    def tell(self) -> None:
        """Raise LabError with all that there were."""
        if self.found:
            raise LabError("\n".join(self.found))


@dataclass(frozen=True)
class Asked:
    """Rows by name, the turns of each, and where they go as soon as they are measured."""

    names: frozenset[str]
    times: int
    report: Report
    problems: Problems

    @property
    def board(self) -> Board:
        """What people look at meanwhile."""
        return self.problems.board
