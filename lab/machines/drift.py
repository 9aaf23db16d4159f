"""What changes on a machine that somebody lends: packages, files, state, units, users and listening ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

LOOK_SECONDS = 120.0
FOLDERS = ("/etc", "/boot", "/opt", "/usr/local", "/root")
"""Where people and installers put files by hand; every Debian has them."""
QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "package": ("dpkg-query", "-W", "-f", "${Package} ${Version}\n"),
    "file": ("find", *FOLDERS, "-xdev", "-type", "f", "-exec", "sha256sum", "{}", "+"),
    "mode": ("find", *FOLDERS, "-xdev", "-printf", "%m %U %G  %p\n"),
    "link": ("find", "/etc", "-xdev", "-type", "l", "-printf", "%l  %p\n"),
    "state": ("find", "/var/lib", "-mindepth", "1", "-maxdepth", "1", "-printf", "%f\n"),
    "unit": ("systemctl", "list-unit-files", "--no-legend", "--plain", "--no-pager"),
    "user": ("cat", "/etc/passwd"),
    "port": ("ss", "-Hltn"),
}
"""What is asked, by the kind of what the answer lists."""


class Shell(Protocol):
    """What is needed of a login: ``SshTransport`` has it."""

    def check(self, *argv: str, stdin: str | None = None, seconds: float = ...) -> str:
        """Run a program that has to end well."""


@dataclass(frozen=True, order=True)
class Change:
    """One thing that is not as it was; None where it was not there before, or is not there any more."""

    kind: str
    name: str
    before: str | None
    after: str | None

    def __str__(self) -> str:
        """Return a line of a report."""
        if self.before is None:
            return f"{self.kind} {self.name}: new"
        return f"{self.kind} {self.name}: {'changed' if self.after is not None else 'gone'}"


Record = Mapping[tuple[str, str], str]
"""(kind, name) to what is compared: a version, a digest, a state."""


def look(shell: Shell) -> Record:
    """Return what a machine has now. Raises CommandFailed, ConnectionLost."""
    found: dict[tuple[str, str], str] = {}
    for kind, argv in QUESTIONS.items():
        for name, value in parse(kind, shell.check(*argv, seconds=LOOK_SECONDS)).items():
            found[kind, name] = value
    return found


def parse(kind: str, text: str) -> dict[str, str]:
    """Return name to value of the lines of one answer."""
    pairs = (_pair(kind, line) for line in text.splitlines() if line.strip())
    return dict(pairs)


def _pair(kind: str, line: str) -> tuple[str, str]:
    if kind in ("file", "link", "mode"):
        value, _, name = line.partition("  ")
        return name, value
    if kind == "user":
        name, _, value = line.partition(":")
        return name, value
    if kind == "state":
        return line, ""
    if kind == "port":
        return line.split()[3], ""
    name, _, value = line.partition(" ")
    return name, " ".join(value.split())


def drift(before: Record, after: Record) -> tuple[Change, ...]:
    """Return what differs, by kind and name."""
    return tuple(
        Change(*key, before.get(key), after.get(key))
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    )
