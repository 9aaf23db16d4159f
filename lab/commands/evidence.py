"""``lab verify``, ``lab bundle``, ``lab evidence-key``: evidence that others can check."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lab.commands.terminal import console as terminal
from lab.errors import BadInput

if TYPE_CHECKING:
    from reports.bundle.verify import Checked


def register(app: typer.Typer) -> None:
    """Add the commands of this family."""
    app.command()(verify)
    app.command()(bundle)
    app.command("evidence-key")(evidence_key)


def verify(
    bundle: Annotated[Path, typer.Argument(help="Folder of a run, or an archive that lab bundle wrote.")],
    key: Annotated[str | None, typer.Option(help="Accept only this key: its fingerprint, or a PEM file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Check signature and files of a run, and recompute its verdict; exit code 0 genuine, 1 tampered, 2 bad input."""
    from reports.bundle.archive import opened
    from reports.bundle.keys import expected_fingerprint
    from reports.bundle.verify import check

    if not bundle.exists():
        raise BadInput(f"{bundle}: there is no such file or folder")
    expected = expected_fingerprint(key) if key is not None else None
    with opened(bundle) as folder:
        checked = check(folder, expected)
    if as_json:
        typer.echo(json.dumps(checked.to_json(), indent=2))
    else:
        _show(checked)
    if not checked.genuine:
        raise typer.Exit(1)


def bundle(
    run_dir: Annotated[Path, typer.Argument(help="Folder of a run.")],
    out: Annotated[Path | None, typer.Option(help="File to write; RUN.tar.gz here by default.")] = None,
) -> None:
    """Pack the sealed folder of a run into one archive for somebody else."""
    from reports.bundle.archive import pack
    from reports.bundle.seal import SEAL_FILE

    folder = run_dir.resolve()
    if not (folder / SEAL_FILE).is_file():
        raise BadInput(f"{run_dir}: no {SEAL_FILE} here: lab run seals a run at its end, lab report does it again")
    target = out or Path(f"{folder.name}.tar.gz")
    pack(folder, target)
    terminal().print(f"{target}: {target.stat().st_size / 1e6:.1f} MB", markup=False, soft_wrap=True)


def evidence_key() -> None:
    """Show the public key that this lab signs with: give its fingerprint to those who check your runs."""
    from lab.home import home
    from reports.bundle.keys import fingerprint, public_pem, signing_key

    public = signing_key(home()).public_key()
    typer.echo(f"{public_pem(public)}fingerprint: {fingerprint(public)}")


def _show(checked: Checked) -> None:
    console = terminal()
    for finding in checked.findings:
        console.print(f"{finding.where}: {finding.what}", markup=False, soft_wrap=True, style="red")
    if checked.key is not None:
        who = "the key that was asked for" if checked.pinned else "compare it with the one you were told, or use --key"
        console.print(f"signed with {checked.key} ({who})", markup=False, soft_wrap=True)
    if not checked.genuine:
        console.print(f"[bold red]not genuine[/]: {len(checked.findings)} findings")
        return
    console.print(f"{checked.files} files, Merkle root {checked.root}", markup=False, soft_wrap=True)
    console.print("the verdict follows from ledger and raw histories", soft_wrap=True)
    if not checked.html_recomputed:
        text = "certificate.html was made by another version: its digest was checked, its text was not made again"
        console.print(text, soft_wrap=True)
    console.print(f"[bold green]genuine[/]: {checked.run}, verdict {checked.verdict}", soft_wrap=True)
