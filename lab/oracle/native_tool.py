"""Compiles the native tool (``native/*.c``) once for each version of its source. It runs on any Linux of this CPU."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parent / "native"
COMPILER = ("cc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-static", "-s", "-Wall", "-Wextra", "-Werror", "-pthread")
COMPILE_SECONDS = 120.0


class CompileFailed(RuntimeError):
    """The native tool does not compile here; the message is the compiler's."""


def native_tool(cache: Path) -> Path:
    """Return the path of the compiled tool in ``cache``, compiling it when its source is new.

    Safe when several processes do it at once: the file appears whole or not at all.

    Raises:
        CompileFailed: there is no C compiler, or it refuses the source.
    """
    tool = cache / f"oracle-{_digest()}"
    if not tool.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            built = Path(folder) / "oracle"
            _compile(built)
            os.replace(built, tool)  # noqa: PTH105 - the atomic one
    return tool


def _digest() -> str:
    """Return what identifies source and compiler options."""
    digest = hashlib.sha256(" ".join(COMPILER).encode())
    for file in sorted(SOURCE.glob("*.[ch]")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]


def _compile(target: Path) -> None:
    sources = [str(file) for file in sorted(SOURCE.glob("*.c"))]
    try:
        done = subprocess.run(
            [*COMPILER, "-o", str(target), *sources],
            capture_output=True,
            text=True,
            timeout=COMPILE_SECONDS,
            check=False,
        )
    except OSError as error:
        raise CompileFailed(f"no C compiler: {error}") from error
    if done.returncode:
        raise CompileFailed(done.stderr.strip()[-2000:])
