"""Results of ``lab sensitivity`` as they come: a line of JSON for each, so that whatever ends a run loses none.

A line is ``{stack, order, probed}``: the build of the stack, what the result rests on (``lab.defects.basis``), and what
the tests said. A line that was cut off is dropped by whoever begins next.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from lab.defects.probing import Probed
from reports.durable import replace_file

Ordered = TypeVar("Ordered")
FILE = "sensitivity.jsonl"
"""In the lab's home, beside the result."""


class Journal:
    """The results of one build of the stack in a file; several commands may write, each line is whole."""

    def __init__(self, path: Path, build: str) -> None:
        self._path = path
        self._build = build

    def begin(self, orders: Collection[str], *, resume: bool) -> dict[str, list[Probed]]:
        """Return what is known of some orders, none of it unless ``resume``; what is out of date leaves the file.

        Out of date is what another build of the stack showed, and without ``resume`` what these orders will show again.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._locked():
            lines = [line for line in self._lines() if line["stack"] == self._build]
            kept = [line for line in lines if resume or line["order"] not in orders]
            replace_file(self._path, "".join(json.dumps(line) + "\n" for line in kept))
        return _by_order(kept, orders)

    def known(self, orders: Collection[str]) -> dict[str, list[Probed]]:
        """Return what is known of some orders."""
        with self._locked():
            return _by_order([line for line in self._lines() if line["stack"] == self._build], orders)

    def record(self, order: str, probed: Probed) -> None:
        """Keep a result, on the disk when this returns."""
        line = json.dumps({"stack": self._build, "order": order, "probed": asdict(probed)}) + "\n"
        with self._locked(), self._path.open("ab") as file:
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield the lines that are whole."""
        try:
            content = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        for text in content.splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and line.keys() == {"stack", "order", "probed"}:
                yield line

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder: the file itself is replaced."""
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)


def split(
    orders: Sequence[Ordered], basis: Callable[[Ordered], str], known: Mapping[str, Sequence[Probed]]
) -> tuple[list[Probed], list[Ordered]]:
    """Return what is known of some orders, and the orders that are left. Pure."""
    unused = {order: list(found) for order, found in known.items()}
    done: list[Probed] = []
    left: list[Ordered] = []
    for order in orders:
        found = unused.get(basis(order))
        if found:
            done.append(found.pop(0))
        else:
            left.append(order)
    return done, left


def _by_order(lines: Iterable[dict[str, Any]], orders: Collection[str]) -> dict[str, list[Probed]]:
    known: dict[str, list[Probed]] = {}
    for line in lines:
        if line["order"] in orders:
            known.setdefault(line["order"], []).append(_probed(line["probed"]))
    return known


def _probed(content: dict[str, Any]) -> Probed:
    carried = {test: tuple(rules) for test, rules in content["requirements"].items()}
    return Probed(**{**content, "requirements": carried})
