"""The tables of a module: cmdlets with their parameters, classes with their properties, enums with their numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from lab.emulators.hyperv.powershell.values import EnumValue, Record

EVERY_SET = "(All)"


@dataclass(frozen=True)
class Membership:
    """What a parameter is in one parameter set; ``pipeline``: "value", "name", "both" or ""."""

    required: bool
    pipeline: str


@dataclass(frozen=True)
class Parameter:
    """A parameter of a cmdlet."""

    name: str
    type: str
    aliases: tuple[str, ...]
    values: tuple[str, ...]
    sets: Mapping[str, Membership]

    @property
    def base(self) -> str:
        """The type without the mark of an array."""
        return self.type.removesuffix("[]")

    def within(self, name: str) -> Membership | None:
        """Return what it is in a parameter set, None when it does not belong there."""
        return self.sets.get(name) or self.sets.get(EVERY_SET)

    def called(self, word: str) -> bool:
        """Whether a script may write it like this."""
        return word.casefold() in {self.name.casefold(), *(alias.casefold() for alias in self.aliases)}


@dataclass(frozen=True)
class Signature:
    """A cmdlet: its name as it is written, its .NET class, its parameter sets."""

    name: str
    command: str
    default: str
    sets: tuple[str, ...]
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class Module:
    """A module of cmdlets."""

    name: str
    signatures: Mapping[str, Signature]
    """By lower-case name."""
    not_emulated: frozenset[str]
    classes: Mapping[str, Mapping[str, str]]
    enums: Mapping[str, Mapping[str, int]]

    def record(self, kind: str, properties: Mapping[str, Any], key: Any = None) -> Record:
        """Return an object of a class; names of enum values become values of that enum.

        A property that the class does not declare is an AssertionError: a mistake of the emulator.
        """
        declared = self.classes[kind]
        found = {name: self._typed(declared.get(name, ""), value) for name, value in properties.items()}
        return Record(kind, found, frozenset(declared), key)

    def enum(self, kind: str, name: str) -> EnumValue | None:
        """Return a value of an enum by its name, whose case does not count, or None."""
        for present, number in self.enums[kind].items():
            if present.casefold() == name.casefold():
                return EnumValue(kind, present, number)
        return None

    def _typed(self, declared: str, value: Any) -> Any:
        kind = declared.removeprefix("Nullable<").removesuffix(">").removesuffix("[]")
        if kind not in self.enums or value is None:
            return value
        if isinstance(value, list | tuple):
            return [self._typed(kind, item) for item in value]
        if not isinstance(value, str):
            return value
        found = self.enum(kind, value)
        if found is None:
            raise AssertionError(f"the enum {kind} has no {value}")
        return found


@cache
def load(name: str) -> Module:
    """Return a module's tables: "hyperv" or "vmm"."""
    text = resources.files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8")
    document: dict[str, Any] = json.loads(text)
    prefix: str = document.get("namespace", "Microsoft.HyperV.PowerShell.Commands.")
    signatures = {key.casefold(): _signature(key, prefix, content) for key, content in document["cmdlets"].items()}
    not_emulated = frozenset(each.casefold() for each in document["not_emulated"])
    return Module(name, signatures, not_emulated, document["classes"], document["enums"])


def _signature(name: str, prefix: str, content: Mapping[str, Any]) -> Signature:
    parameters = tuple(
        Parameter(
            name=key,
            type=item["type"],
            aliases=tuple(item.get("aliases", ())),
            values=tuple(item.get("values", ())),
            sets={
                each: Membership(bool(member.get("required")), member.get("pipeline", ""))
                for each, member in item["sets"].items()
            },
        )
        for key, item in content["parameters"].items()
    )
    command = name.replace("-", "")
    if command.casefold().endswith("vhd"):
        prefix = "Microsoft.Vhd.PowerShell.Cmdlets."
    command = content.get("command", prefix + command)
    return Signature(name, command, content["default"], tuple(content["sets"]), parameters)
