"""The folder of an emulated product: one process uses it, and it holds the password and where clients connect."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from lab.locks import taken

ENDPOINT = "endpoint.json"
HOMES = 0o700


class CannotStart(Exception):
    """The choices or the place do not allow an emulated host; the message says why."""


def hold(home: Path, stack: ExitStack) -> None:
    """Make the folder and keep it until the stack is closed. Raises CannotStart when another process has it."""
    home.mkdir(mode=HOMES, parents=True, exist_ok=True)
    lock = stack.enter_context((home / "lock").open("w", encoding="utf-8"))
    if not taken(lock):
        raise CannotStart(f"another emulated host uses {home}")


def chosen_password(home: Path, file: Path | None, variable: str) -> tuple[str, str]:
    """Return the password and where it is: a file, the environment, or a file that is made now, mode 0600.

    Raises:
        CannotStart: the file cannot be read or is empty.
    """
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise CannotStart(f"{file}: {error.strerror}") from error
        if not text:
            raise CannotStart(f"{file} is empty: a password is expected")
        return text, str(file)
    if os.environ.get(variable):
        return os.environ[variable], f"the environment variable {variable}"
    made = home / "password"
    return made_password(made), str(made)


def made_password(file: Path) -> str:
    """Return the password in a file of mode 0600, which is made when it is not there."""
    if not file.exists():
        file.touch(mode=0o600)
        # 20 letters: IPMI knows no longer password.
        file.write_text(secrets.token_urlsafe(15) + "\n", encoding="utf-8")
    return file.read_text(encoding="utf-8").strip()


def publish(home: Path, document: Mapping[str, object], stack: ExitStack) -> None:
    """Say to other programs where the host is, until the stack is closed. No password belongs in here."""
    temporary = home / f"{ENDPOINT}.new"
    temporary.write_text(json.dumps(document), encoding="utf-8")
    temporary.replace(home / ENDPOINT)
    stack.callback((home / ENDPOINT).unlink, missing_ok=True)
