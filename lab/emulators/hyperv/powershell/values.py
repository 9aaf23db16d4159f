"""Values of PowerShell, as far as the emulator has them, and its errors."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class PowerShellError(Exception):
    """A terminating error record. ``fqid`` is its FullyQualifiedErrorId."""

    def __init__(self, message: str, fqid: str = "RuntimeException", category: str = "NotSpecified: (:)") -> None:
        super().__init__(message)
        self.fqid, self.category = fqid, category


class Unsupported(Exception):
    """The script is outside of the subset, or asks for what is not emulated; it is never guessed at."""


class Exit(Exception):
    """The script has ended itself."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(frozen=True)
class EnumValue:
    """A value of a .NET enum: Windows PowerShell writes the number to JSON and the name to a string."""

    kind: str
    name: str
    number: int


@dataclass(frozen=True)
class Record:
    """An object: its class, and its properties in order.

    ``declared`` are all properties that the class really has; None: an object without a class, of which a property that
    is not there reads as null.
    """

    kind: str
    properties: Mapping[str, Any]
    declared: frozenset[str] | None = None
    key: Any = field(default=None, compare=False)
    """What the emulator made it from; scripts do not see that."""

    def __post_init__(self) -> None:
        if self.declared is not None and (wrong := set(self.properties) - self.declared):
            raise AssertionError(f"the class {self.kind} has no {', '.join(sorted(wrong))}")

    def get(self, name: str) -> Any:
        """Return a property, whose case does not count. Raises Unsupported for one that the emulator cannot tell."""
        for present, value in self.properties.items():
            if present.casefold() == name.casefold():
                return value
        if self.declared is None:
            return None
        if any(name.casefold() == other.casefold() for other in self.declared):
            raise Unsupported(f"property {name} of {self.kind} exists but is not emulated")
        raise Unsupported(f"{self.kind} has no property {name}")


CUSTOM = "PSCustomObject"


def custom(properties: Mapping[str, Any]) -> Record:
    """Return an object without a class."""
    return Record(CUSTOM, properties)


def text(value: Any) -> str:  # noqa: PLR0911 - one for each type
    """Return what [string] makes of a value, in the invariant culture."""
    match value:
        case None:
            return ""
        case EnumValue():
            return value.name
        case dt.datetime():
            return value.strftime("%m/%d/%Y %H:%M:%S")
        case dt.timedelta():
            return _span(value)
        case list() | tuple():
            return " ".join(text(item) for item in value)
        case Record():
            return value.kind if value.kind != CUSTOM else _braces(value.properties)
        case dict():
            return "System.Collections.Hashtable"
    return str(value)


def items(value: Any) -> list[Any]:
    """Return what a pipeline makes of a value: lists are unrolled, null is nothing."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


def one(values: list[Any]) -> Any:
    """Return what an assignment or a group makes of the output of a pipeline."""
    return values[0] if len(values) == 1 else (values or None)


def _span(value: dt.timedelta) -> str:
    whole = int(value.total_seconds())
    days, rest = divmod(whole, 86400)
    clock = f"{rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"
    return f"{days}.{clock}" if days else clock


def _braces(properties: Mapping[str, Any]) -> str:
    return "@{" + "; ".join(f"{name}={text(value)}" for name, value in properties.items()) + "}"
