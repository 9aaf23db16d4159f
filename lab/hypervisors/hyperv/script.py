"""The one place where PowerShell is written. Strings cannot end early, scripts cannot be too long, output is JSON.

For example: ``render({"machines": [Pipeline(Cmdlet("Get-VM", {"Name": "a*"}), select=("Name", Enum("State")))]})``
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum as PythonEnum
from typing import Union

from lab.hypervisors.protocols import HypervisorError

MOST_CHARACTERS = 2900
"""cmd.exe takes 8,191 characters [mem], and a script becomes 2.7 times as long on its command line."""
_CMDLET = re.compile(r"[A-Z][A-Za-z]*-[A-Z][A-Za-z]*\Z")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9]*\Z")
_FORBIDDEN = frozenset({"Cc", "Cs", "Zl", "Zp"})
_QUOTES = frozenset("\u2018\u2019\u201a\u201b")
"""PowerShell takes these for single quotes, too."""
_HEAD = "".join(
    f"${name} = '{value}'; "
    for name, value in (
        ("ErrorActionPreference", "Stop"),
        ("ProgressPreference", "SilentlyContinue"),
        ("WarningPreference", "SilentlyContinue"),
    )
).strip()
_TAIL = (
    "} catch { ConvertTo-Json -Compress -Depth 3 -InputObject @{ error = @{ "
    "message = [string]$_.Exception.Message; id = [string]$_.FullyQualifiedErrorId } }; exit 1 }"
)


class NotScriptable(HypervisorError):
    """A value cannot be written into a script, or the script would be too long."""


class Switch(PythonEnum):
    """The value of a switch parameter."""

    ON = "on"
    OFF = "off"


@dataclass(frozen=True)
class Enum:
    """A property whose value is an enum: it is read as its name, because numbers differ between versions of Windows."""

    name: str


@dataclass(frozen=True)
class Variable:
    """What a cmdlet before has left in a variable."""

    name: str


@dataclass(frozen=True)
class Where:
    """Lets only objects pass whose property, as a string, is this."""

    name: str
    value: str


Value = Union[str, int, Switch, Sequence[str], "Pipeline"]
Given = dict[str, Value]
Column = str | Enum


@dataclass(frozen=True)
class Cmdlet:
    """A call. A bool is a parameter of type Boolean, a switch is a ``Switch``, a pipeline gives an object."""

    name: str
    parameters: Mapping[str, Value]


class Pipeline:
    """Cmdlets in a row, and the properties of the last one's objects that are read; none: nothing is read."""

    def __init__(self, *cmdlets: Cmdlet | Variable | Where, select: Sequence[Column] = ()) -> None:
        self.cmdlets, self.select = cmdlets, tuple(select)


Queries = Mapping[str, Sequence[Pipeline]]


def render(queries: Queries) -> str:
    """Return a script that writes one JSON object: the names of the queries, each with an array.

    Raises:
        NotScriptable: a string holds what PowerShell could take for its end, or the script is too long.
    """
    parts = [f"{_word(name)}=@({'; '.join(map(_pipeline, pipelines))})" for name, pipelines in queries.items()]
    body = f"ConvertTo-Json -Compress -Depth 4 -InputObject @{{{'; '.join(parts)}}}"
    script = f"{_HEAD}\ntry {{\n{body}\n{_TAIL}"
    if len(script) > MOST_CHARACTERS:
        raise NotScriptable(f"a script of {len(script)} characters: the host takes {MOST_CHARACTERS} at most")
    return script


def quoted(text: str) -> str:
    """Return a string as PowerShell writes it. Raises NotScriptable."""
    for letter in text:
        if letter in _QUOTES or unicodedata.category(letter) in _FORBIDDEN:
            raise NotScriptable(f"the text {text!r} cannot be written in PowerShell safely: it holds {letter!r}")
    return "'" + text.replace("'", "''") + "'"


def _pipeline(pipeline: Pipeline) -> str:
    parts = [_cmdlet(cmdlet) for cmdlet in pipeline.cmdlets]
    if pipeline.select:
        parts.append("Select-Object -Property " + ",".join(_column(column) for column in pipeline.select))
    return " | ".join(parts)


def _cmdlet(cmdlet: Cmdlet | Variable | Where) -> str:
    if isinstance(cmdlet, Variable):
        return f"${_word(cmdlet.name)}"
    if isinstance(cmdlet, Where):
        return f"Where-Object {{ [string]$_.{_word(cmdlet.name)} -eq {quoted(cmdlet.value)} }}"
    if not _CMDLET.match(cmdlet.name):
        raise NotScriptable(f"{cmdlet.name!r} is no name of a cmdlet")
    return " ".join([cmdlet.name, *(_parameter(name, value) for name, value in cmdlet.parameters.items())])


def _parameter(name: str, value: Value) -> str:  # noqa: PLR0911 - one for each type
    word = _word(name)
    match value:
        case Switch.ON:
            return f"-{word}"
        case Switch.OFF:
            return f"-{word}:$false"
        case bool():
            return f"-{word} ${'true' if value else 'false'}"
        case int():
            return f"-{word} {value}"
        case str():
            return f"-{word} {quoted(value)}"
        case Pipeline():
            return f"-{word} ({_pipeline(value)})"
    return f"-{word} {','.join(map(quoted, value))}"


def _column(column: Column) -> str:
    if isinstance(column, Enum):
        return f"@{{n={quoted(_word(column.name))};e={{[string]$_.{_word(column.name)}}}}}"
    return quoted(_word(column))


def _word(text: str) -> str:
    if not _WORD.match(text):
        raise NotScriptable(f"{text!r} is no name of a parameter or property")
    return text
