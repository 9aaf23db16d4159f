"""The ``lab`` command: registers the families of commands and turns errors into one message and an exit code."""

from __future__ import annotations

import importlib
import importlib.util
import sys

import typer
from rich.console import Console
from rich.text import Text

from lab.errors import LabError
from lab.interrupts import end_on_sigterm

_FAMILIES = ("planning", "reporting", "evidence", "catalogue", "history", "sensitivity", "labs", "saving", "emulating")


def application() -> typer.Typer:
    """Return the application with every family of commands."""
    app = typer.Typer(
        help="Make the machines of a topology file real, and prove what a replication stack does on them.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for family in _FAMILIES:
        name = f"lab.commands.{family}"
        if importlib.util.find_spec(name) is not None:
            importlib.import_module(name).register(app)
    return app


def main() -> None:
    """Run the command line: exit code 0, 1 (LabError) or 2 (BadInput, wrong usage)."""
    end_on_sigterm()
    try:
        application()()
    except LabError as error:
        show_error(error)
        sys.exit(error.exit_code)


def show_error(error: LabError) -> None:
    """Print what went wrong and what to do next to stderr; colour only on a terminal."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print(Text(str(error), style="red"))
    if error.hint:
        console.print(Text(f"hint: {error.hint}", style="dim"))
