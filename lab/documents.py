"""YAML documents as plain data: parsed by libyaml, read strictly, with the line of everything for those who ask.

Scalars mean what the core schema of YAML 1.2 says. What would let two readers understand a document differently is
refused: a key that stands twice, tags, merge keys, and aliases that multiply.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
)

Path = tuple[str | int, ...]

DEEPEST = 50
"""Levels of nesting."""
MOST_REPEATED = 1_000_000
"""Values that aliases may add to a document."""
_CORE = re.compile(
    r"(?P<null>|~|null|Null|NULL)|(?P<true>true|True|TRUE)|(?P<false>false|False|FALSE)"
    r"|(?P<whole>[-+]?[0-9]+)|(?P<based>0o[0-7]+|0x[0-9a-fA-F]+)"
    r"|(?P<real>[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?)"
    r"|(?P<named>[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))"
)
_BEGINNINGS = frozenset("~nNtTfF-+.0123456789")
_READ: dict[str, Callable[[str], object]] = {
    "null": lambda _: None,
    "true": lambda _: True,
    "false": lambda _: False,
    "whole": int,
    "based": lambda text: int(text, 0),
    "real": float,
    "named": lambda text: float(text.replace(".", "", 1)),
}


@dataclass(frozen=True)
class Problem:
    """Something wrong at a line of a file (lines count from 1)."""

    line: int
    message: str


@dataclass
class Document:
    """What a text says, and what is wrong with it. Lines are looked for when somebody asks for the first one."""

    text: str
    data: Any = None
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, location: Path) -> int:
        """Return the line of the deepest part of ``location`` that the file has."""
        return self._walk(location)[1]

    def known(self, location: Path) -> Path:
        """Return ``location`` without steps that are not in the file (pydantic adds union tags)."""
        return self._walk(location)[0]

    def _walk(self, location: Path) -> tuple[Path, int]:
        places = self._places
        shown: Path = ()
        looked: Path = ()
        line = places.lines.get((), 1)
        for step in location:
            if (*looked, step) in places.lines:
                shown, looked = (*shown, step), (*looked, step)
                line = places.lines[looked]
                looked = places.aliases.get(looked, looked)
        return shown, line

    @cached_property
    def _places(self) -> Places:
        places = Places()
        _Composer(self.text, places).document()
        return places


@dataclass
class Places:
    """The line of everything that stands in a document; what an alias stands for is at another place of it."""

    lines: dict[Path, int] = field(default_factory=dict)
    aliases: dict[Path, Path] = field(default_factory=dict)


def read_document(text: str) -> Document:
    """Return what a text says; whatever is wrong with it is in ``problems``."""
    composer = _Composer(text, None)
    data = composer.document()
    return Document(text, data, composer.problems)


def load_yaml(text: str) -> Any:
    """Return what a text says. Raises ValueError with all that is wrong with it, each with its line."""
    document = read_document(text)
    if document.problems:
        raise ValueError("\n".join(f"line {problem.line}: {problem.message}" for problem in document.problems))
    return document.data


class _TooDeepError(Exception):
    """Nothing is read any further."""


class _Composer:
    """Turns the events of one document into plain data.

    Positions cost as much again as everything else, so they are only written down for a document with errors.
    """

    def __init__(self, text: str, places: Places | None) -> None:
        self.problems: list[Problem] = []
        self._text = text
        self._places = places
        self._plain: dict[str, object] = {}
        self._anchors: dict[str, tuple[object, Path] | None] = {}
        self._weights: dict[int, tuple[object, int]] = {}
        self._repeated = 0
        self._depth = 0

    def document(self) -> Any:
        """Return the one document of the text; None after an error."""
        try:
            # Characters that YAML does not allow are refused here already.
            self._next: Callable[[], Any] = yaml.CSafeLoader(self._text).get_event
            return self._document()
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            self.problems.append(Problem(mark.line + 1 if mark else 1, f"not YAML: {error.problem}"))
        except yaml.YAMLError as error:
            self.problems.append(Problem(1, f"not YAML: {str(error).splitlines()[0]}"))
        except _TooDeepError:
            pass
        return None

    def _document(self) -> Any:
        self._next()
        if not isinstance(self._next(), DocumentStartEvent):
            self.problems.append(Problem(1, "the file is empty"))
            return None
        data = self._value(self._next(), ())
        self._next()
        if isinstance(after := self._next(), DocumentStartEvent):
            self._complain(after, "a second document begins here")
        if data is None and not self.problems:
            self.problems.append(Problem(1, "the file is empty"))
        return data

    def _value(self, event: Event, path: Path) -> Any:
        if self._places is not None:
            self._places.lines.setdefault(path, _line(event))
        if type(event) is ScalarEvent and event.tag is None and event.anchor is None:
            return self._scalar(event)
        return self._unusual(event, path) if _is_unusual(event) else self._bare(event, path)

    def _unusual(self, event: Event, path: Path) -> Any:
        """Return a value with an anchor or a tag, or that of an alias."""
        if isinstance(event, AliasEvent):
            return self._alias(event, path)
        if getattr(event, "tag", None) is not None:
            self._complain(event, f"tags are not supported, and here is '{_tag(event)}'")
        anchor: str | None = getattr(event, "anchor", None)
        if anchor is None:
            return self._bare(event, path)
        self._anchors[anchor] = None
        value = self._bare(event, path)
        self._anchors[anchor] = (value, path)
        # With the value itself: while it is kept, nothing else gets its id.
        self._weights[id(value)] = (value, self._weight(value))
        return value

    def _bare(self, event: Event, path: Path) -> Any:
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        if self._depth == DEEPEST:
            self._complain(event, f"nested deeper than {DEEPEST} levels")
            raise _TooDeepError
        self._depth += 1
        value = self._mapping(path) if kind is MappingStartEvent else self._sequence(path)
        self._depth -= 1
        return value

    def _mapping(self, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while type(event := self._next()) is not MappingEndEvent:
            key = self._key(event)
            here = path
            if self._places is not None:
                here = (*path, key)
                self._places.lines.setdefault(here, _line(event))
            value = self._value(self._next(), here)
            if key in found:
                self._complain(event, f"'{key}' stands here twice")
            elif key:
                found[key] = value
        return found

    def _key(self, event: Event) -> str:
        """Return a key, "" for one that cannot be used."""
        if type(event) is not ScalarEvent or event.anchor is not None or event.tag is not None:
            self._complain(event, "a key has to be a plain word")
            self._value(event, ())
            return ""
        if event.value == "<<" and event.implicit[0]:
            self._complain(event, "merge keys ('<<') are not supported: use a plain alias")
            return ""
        if not event.value:
            self._complain(event, "a key is missing")
        return str(event.value)

    def _sequence(self, path: Path) -> list[Any]:
        found: list[Any] = []
        while type(event := self._next()) is not SequenceEndEvent:
            found.append(self._value(event, path if self._places is None else (*path, len(found))))
        return found

    def _scalar(self, event: Any) -> object:
        text: str = event.value
        if not event.implicit[0] or (text and text[0] not in _BEGINNINGS):
            return text
        if text not in self._plain:
            try:
                found = _CORE.fullmatch(text)
                self._plain[text] = _READ[str(found.lastgroup)](text) if found else text
            except ValueError:
                self._complain(event, "this value cannot be read")
                return None
        return self._plain[text]

    def _alias(self, event: AliasEvent, path: Path) -> Any:
        if event.anchor not in self._anchors:
            self._complain(event, f"there is no anchor '{event.anchor}' above")
            return None
        anchored = self._anchors[event.anchor]
        if anchored is None:
            self._complain(event, "this alias refers to something that contains it")
            return None
        value, place = anchored
        self._repeated += self._weight(value)
        if self._repeated > MOST_REPEATED:
            self._complain(event, f"aliases add more than {MOST_REPEATED} values to this file")
            raise _TooDeepError
        if self._places is not None:
            self._places.aliases[path] = place
        return value

    def _weight(self, value: object) -> int:
        """Return how many values there are in a value, aliases followed."""
        if id(value) in self._weights:
            return self._weights[id(value)][1]
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        return 1 + sum(self._weight(part) for part in parts)

    def _complain(self, event: Event, message: str) -> None:
        self.problems.append(Problem(_line(event), message))


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _is_unusual(event: Any) -> bool:
    # An alias has no tag, but always an anchor.
    return event.anchor is not None or event.tag is not None


def _tag(event: Event) -> str:
    return str(getattr(event, "tag", "")).replace("tag:yaml.org,2002:", "!!")
