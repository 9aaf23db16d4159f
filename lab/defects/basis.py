"""What a result rests on, besides the build of the stack: the defect, how it was tried, the tests that had to notice.

``lab sensitivity --resume`` takes a result for what an order would show only while all of this is the same.
"""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from lab.defects.lab_runs import LabOrder
from lab.defects.patching import ROOT
from lab.defects.probing import Order
from lab.defects.registry import FOLDER, IMAGE_PROBES, defect
from lab.runs import sources_digest

_TESTS = ROOT / "tests"
_IMPORTED_FROM = (FOLDER, _TESTS, _TESTS / "replication" / "control", _TESTS / "replication" / "data")
"""Where probes and what they import are."""


def of_probes(order: Order) -> str:
    """Return the digest of what a run of probes rests on."""
    wrong = defect(order.defect) if order.defect else None
    images = (IMAGE_PROBES,) if wrong is not None and wrong.on_disks else ()
    return _digest([repr(wrong), repr(order.exhaustive), _content((*order.files, *images))])


def of_lab(order: LabOrder, topology: Path) -> str:
    """Return the digest of what a run of suites rests on."""
    return _digest([repr(order), topology.read_text("utf-8"), _suites()])


@cache
def _suites() -> str:
    return sources_digest(ROOT / "suites", ROOT / "fixtures")


@cache
def _content(probes: tuple[str, ...]) -> str:
    return _digest(path.read_text("utf-8") for path in files_behind(probes))


def files_behind(probes: Iterable[str]) -> list[Path]:
    """Return files of probes (named from their folder), those of tests that they import, and each ``conftest.py``."""
    places = {path.stem: path for folder in _IMPORTED_FROM for path in folder.glob("*.py") if path.stem != "conftest"}
    waiting = [(FOLDER / name).resolve() for name in probes]
    found: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.add(path)
        waiting += [places[name] for name in _imported(path) if name in places]
        waiting += [item for item in _settings(path.parent) if item.is_file()]
    return sorted(found)


def _settings(folder: Path) -> Iterator[Path]:
    """Yield the places of ``conftest.py`` from a folder up to that of all tests."""
    yield folder / "conftest.py"
    if folder != _TESTS:
        yield from _settings(folder.parent)


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def _digest(texts: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for text in texts:
        digest.update(hashlib.sha256(text.encode()).digest())
    return digest.hexdigest()
