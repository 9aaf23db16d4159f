"""Azurite's npm package in a cache folder: one pinned version, installed once."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from lab.errors import LabError

VERSION = "3.35.0"
INSTALL_SECONDS = 300.0
PROGRAM = Path("node_modules/azurite/dist/src/blob/main.js")
CURE = "apt-get install nodejs npm (or make bootstrap)"


def missing_program() -> str | None:
    """Return which of ``node`` and ``npm`` is not on this machine, or None."""
    return next((program for program in ("node", "npm") if shutil.which(program) is None), None)


def provide(cache: Path) -> Path:
    """Return the script of Azurite's blob service for ``node``; installed below ``cache`` when it is not there.

    Raises:
        LabError: node or npm is missing, or npm cannot install it.
    """
    folder = cache / f"azurite-{VERSION}"
    if (folder / PROGRAM).is_file():
        return folder / PROGRAM
    missing = missing_program()
    if missing is not None:
        raise LabError(f"Azurite, the stand-in for Azure Storage, needs {missing}", hint=CURE)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="azurite-", dir=cache) as work:
        _install(Path(work))
        _move_into_place(Path(work), folder)
    return folder / PROGRAM


def _install(work: Path) -> None:
    # No scripts of packages: nothing in Azurite's blob service needs one.
    flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--loglevel=error"]
    command = ["npm", "install", "--prefix", str(work), *flags, f"azurite@{VERSION}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=INSTALL_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise LabError(f"npm did not install azurite {VERSION} in {INSTALL_SECONDS:.0f} s") from error
    if done.returncode or not (work / PROGRAM).is_file():
        problem = done.stderr.decode(errors="replace").strip()[-800:]
        raise LabError(f"npm did not install azurite {VERSION}: {problem}", hint="npm config get registry")


def _move_into_place(work: Path, folder: Path) -> None:
    """Somebody else may have installed the same meanwhile; then theirs stays."""
    whole = work / "whole"
    whole.mkdir()
    (work / "node_modules").rename(whole / "node_modules")
    try:
        whole.rename(folder)
    except OSError:
        if not (folder / PROGRAM).is_file():
            raise
