"""Pytest plugin for a collection without a run: writes which test carries which requirement, and does nothing else.

``pytest --collect-only -p reports.carriers --carriers FILE``: ``{requirement id: [node id, ...]}``, node ids without
parameters, each once.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--carriers``."""
    parser.addoption("--carriers", type=Path, metavar="FILE", help="write requirement id to tests as JSON")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write the file."""
    file: Path | None = session.config.getoption("--carriers")
    if file is not None:
        file.write_text(json.dumps(carriers(session.items)), encoding="utf-8")


def carriers(items: list[pytest.Item]) -> dict[str, list[str]]:
    """Return the tests of each requirement, in the order in which they run."""
    # Not above: this module is loaded before pytest has registered the plugin.
    from reports.plugin import requirement_ids

    found: dict[str, dict[str, None]] = {}
    for item in items:
        for requirement in requirement_ids(item):
            found.setdefault(requirement, {})[item.nodeid.partition("[")[0]] = None
    return {requirement: list(tests) for requirement, tests in found.items()}
