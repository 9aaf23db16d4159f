"""``lab report``: what a run showed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lab.commands.terminal import console as terminal


def register(app: typer.Typer) -> None:
    """Add the commands of this family."""
    app.command()(report)


def report(run_dir: Annotated[Path, typer.Argument(help="Folder of a run.")]) -> None:
    """Make the certificate of a run again from its ledger and seal it; exit code 1 unless it passed."""
    from lab.home import home
    from reports.bundle.keys import signing_key
    from reports.bundle.resealing import certify_again
    from reports.model import Verdict

    certificate = certify_again(run_dir, lambda: signing_key(home()))
    console = terminal()
    console.print(f"[bold]{certificate.verdict}[/]")
    for name, result in certificate.scenarios.items():
        counts = f"{result.passed} passed, {result.failed} failed, {result.not_run} not run"
        console.print(f"{name}: {counts}, of {result.requirements} requirements")
    for reason in certificate.reasons:
        console.print(reason, markup=False, soft_wrap=True)
    console.print(str(run_dir / "certificate.html"), markup=False, soft_wrap=True)
    if certificate.verdict is not Verdict.PASS:
        raise typer.Exit(1)
