"""Something wrong in a topology, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding:
    """``word`` was not found among ``known``: the loader suggests the closest."""

    location: Location
    message: str
    word: str = ""
    known: tuple[str, ...] = ()


def dangling(what: str, name: str, known: Collection[str], location: Location) -> tuple[Finding, ...]:
    """Return a finding if ``name`` is not one of ``known``."""
    if name in known:
        return ()
    return (Finding(location, f"there is no {what} '{name}'", name, tuple(known)),)


def named_twice(what: str, names: Iterable[str], location: Location) -> list[Finding]:
    """Return a finding for every name that is there more than once."""
    return [Finding(location, f"{what} '{name}' is named {count} times") for name, count in repeated(names)]


def repeated(names: Iterable[str]) -> list[tuple[str, int]]:
    """Return what is there more than once, and how often; quick where nothing is, as nearly everywhere."""
    listed = list(names)
    if len(listed) <= 1 or len(set(listed)) == len(listed):
        return []
    return [(name, count) for name, count in Counter(listed).items() if count > 1]
