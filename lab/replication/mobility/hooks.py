"""Applications are told to be quiet before a cut and to go on after it, by the convention of QEMU's guest agent:

every executable in a folder is called with ``freeze``, in the order of names, and afterwards with ``thaw``, in the
other order. A script that fails to freeze ends the attempt; those that were called are thawed in any case.
"""  # noqa: D415 - a colon introduces the rule

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from lab.replication.common.control import CommandFailed

log = logging.getLogger(__name__)

FOLDER = Path("/etc/recovery/fsfreeze-hook.d")
HOOK_S = 45.0


def hooks_in(folder: Path) -> list[Path]:
    """Return the scripts, by name."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_file() and os.access(path, os.X_OK))


@contextmanager
def quiet(folder: Path) -> Iterator[None]:
    """Keep the applications quiet inside the block.

    Raises:
        CommandFailed: there is no script, or one failed; then the applications run as before.
    """
    hooks = hooks_in(folder)
    if not hooks:
        raise CommandFailed("no-application-hooks", f"{folder} has no script that could quiet an application")
    called: list[Path] = []
    try:
        for hook in hooks:
            called.append(hook)
            _freeze(hook)
        yield
    finally:
        _thaw(called)


def _freeze(hook: Path) -> None:
    try:
        done = _call(hook, "freeze")
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CommandFailed("application-not-quiet", f"{hook.name}: {error}") from error
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip()[-300:]
        raise CommandFailed("application-not-quiet", f"{hook.name} freeze ended with {done.returncode}: {words}")


def _thaw(called: Sequence[Path]) -> None:
    for hook in reversed(called):
        try:
            done = _call(hook, "thaw")
        except (OSError, subprocess.TimeoutExpired):
            log.exception("%s did not thaw", hook.name)
            continue
        if done.returncode != 0:
            log.error("%s thaw ended with %d: %s", hook.name, done.returncode, done.stderr.decode(errors="replace"))


def _call(hook: Path, action: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([str(hook), action], check=False, capture_output=True, timeout=HOOK_S)
