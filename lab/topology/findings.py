"""Something wrong in a topology, and where."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

Location = tuple[str | int, ...]


@dataclass(frozen=True)
class Finding:
    """``word`` was not found among ``known``: the loader suggests the closest."""

    location: Location
    message: str
    word: str = ""
    known: tuple[str, ...] = ()


def dangling(what: str, name: str, known: Collection[str], location: Location) -> Iterator[Finding]:
    """Yield a finding if ``name`` is not one of ``known``."""
    if name not in known:
        yield Finding(location, f"there is no {what} '{name}'", name, tuple(known))


def named_twice(what: str, names: Iterable[str], location: Location) -> Iterator[Finding]:
    """Yield a finding for every name that is there more than once."""
    for name, count in repeated(names):
        yield Finding(location, f"{what} '{name}' is named {count} times")


def repeated(names: Iterable[str]) -> list[tuple[str, int]]:
    """Return what is there more than once, and how often; quick where nothing is, as nearly everywhere."""
    listed = list(names)
    if len(set(listed)) == len(listed):
        return []
    return [(name, count) for name, count in Counter(listed).items() if count > 1]
