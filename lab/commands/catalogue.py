"""``lab requirements``: every rule, the tests that carry it, what the last run showed, and where there is a hole."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lab.commands.terminal import console as terminal
from lab.commands.terminal import plain_table
from lab.errors import BadInput, LabError
from lab.topology.scenario import Scenario

if TYPE_CHECKING:
    from reports.coverage import Covered

ROOT = Path(__file__).resolve().parents[2]
COLLECT_SECONDS = 120
_LAST = {"pass": "[green]pass[/]", "fail": "[red]fail[/]", "not-run": "not run", None: "-"}


def register(app: typer.Typer) -> None:
    """Add the command of this family."""
    app.command()(requirements)


def requirements(
    scenario: Annotated[Scenario | None, typer.Option(help="Only what this scenario needs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
    holes: Annotated[bool, typer.Option("--holes", help="Only rules that no test carries.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the reports; its last run is shown.")] = Path("reports/out"),
) -> None:
    """List every rule with the tests that carry it and its status in the last run; nothing is run or touched."""
    from lab.requirements import load_catalogue
    from reports.coverage import coverage

    rows = coverage(load_catalogue(), collect_carriers(), last_certificate(out), scenario)
    shown = [row for row in rows if row.hole or not holes]
    if as_json:
        typer.echo(json.dumps([row.to_json() for row in shown], indent=2))
        return
    _show(shown)
    missing = sum(row.hole for row in rows)
    terminal().print(f"\n{len(rows)} rules, {len(rows) - missing} with tests, [bold]{missing} without[/]")


def collect_carriers(suites: Path = ROOT / "suites") -> dict[str, list[str]]:
    """Return the tests that carry each requirement, found by pytest without running or setting up any.

    Raises:
        LabError: the suites cannot be collected; the message quotes pytest.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "carriers.json"
        command = [sys.executable, "-m", "pytest", str(suites), "--collect-only", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, "-p", "reports.carriers", "--carriers", str(file)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=COLLECT_SECONDS,
            check=False,
        )
        if done.returncode or not file.exists():
            raise LabError(f"the suites cannot be collected:\n{(done.stdout + done.stderr)[-2000:].strip()}")
        found: dict[str, list[str]] = json.loads(file.read_text(encoding="utf-8"))
        return found


def last_certificate(out: Path) -> Mapping[str, Any] | None:
    """Return the certificate of the last run, if there is one. Raises BadInput when it cannot be read."""
    file = out / "latest" / "certificate.json"
    try:
        certificate: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: {error}") from error
    return certificate


def _show(rows: Sequence[Covered]) -> None:
    table = plain_table("id", "level", "rule", "source", "scenarios", "tests", "last run")
    for row in rows:
        cells = (row.id, row.level.value, row.rule, row.source, " ".join(row.scenarios))
        tests = _by_suite(row.tests) or f"[red]no test[/] {row.not_tested}".strip()
        table.add_row(*cells, tests, _LAST.get(row.last, row.last))
    terminal().print(table)


def _by_suite(tests: Sequence[str]) -> str:
    """Return how many tests of each suite; their whole names are in the JSON, a table has no room for them."""
    counts = Counter(Path(node).parent.name for node in tests)
    return "\n".join(f"{suite} {count}" for suite, count in counts.items())
