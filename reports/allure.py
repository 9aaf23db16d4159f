"""What Allure's report shows beside the tests: on what they ran, by whom, and what came before."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.ledger import EventKind, read_ledger
from lab.runs import ALLURE_FOLDER, LEDGER_FILE
from reports.allure_history import carry_history


def write_allure_environment(run_dir: Path) -> None:
    """Write ``environment.properties``, ``executor.json`` and the history of earlier runs. Raises LedgerError."""
    events = read_ledger(run_dir / LEDGER_FILE)
    started: dict[str, Any] = {}
    environment: dict[str, Any] = {}
    for event in events:
        if event.kind is EventKind.RUN_STARTED:
            started.update(event.data)
        elif event.kind is EventKind.ENVIRONMENT:
            environment.update(event.data)
    about = {name: started.get(name, "") for name in ("topology", "scenario", "stack", "build", "topology_digest")}
    folder = run_dir / ALLURE_FOLDER
    folder.mkdir(exist_ok=True)
    (folder / "environment.properties").write_text(properties_of({**about, **environment}), encoding="utf-8")
    executor = {
        "name": f"recovery-lab {started.get('harness', '')}",
        "type": "recovery-lab",
        "buildName": started["run"],
        "buildOrder": carry_history(run_dir, str(started.get("topology", ""))),
    }
    (folder / "executor.json").write_text(json.dumps(executor), encoding="utf-8")


def properties_of(values: Mapping[str, Any]) -> str:
    """Return a Java properties file: one line for each value, what would end the line or the key escaped."""
    lines = []
    for name, value in values.items():
        text = json.dumps(value, sort_keys=True) if isinstance(value, dict | list) else str(value)
        escaped = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
        lines.append(f"{name.replace(' ', '_')} = {escaped}\n")
    return "".join(lines)
