"""ConvertTo-Json as Windows PowerShell 5.1 does it (facts/hyperv-and-bmc.md 3.1; dates and escapes there are [mem])."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

from lab.emulators.hyperv.powershell.values import EnumValue, Record, Unsupported, text

_ESCAPED = {ord(letter): f"\\u{ord(letter):04x}" for letter in "<>&'"}
_TICKS = 10_000_000


def to_json(value: Any, depth: int) -> str:
    """Return compressed JSON; what is deeper than ``depth`` collapses to a string."""
    return _encode(value, depth, 0)


def from_json(document: str) -> Any:
    """Return what ConvertFrom-Json makes of a document. Raises ValueError."""
    return _decoded(json.loads(document))


def _encode(value: Any, depth: int, level: int) -> str:  # noqa: PLR0911 - one for each type
    match value:
        case None | bool() | int() | float():
            return json.dumps(value)
        case EnumValue():
            return str(value.number)
        case dt.datetime():
            return f'"\\/Date({int(value.timestamp() * 1000)})\\/"'
        case dt.timedelta():
            ticks = int(value.total_seconds() * _TICKS)
            return _object({"Ticks": ticks, "TotalSeconds": value.total_seconds()}, depth, level)
        case uuid.UUID():
            return f'"{value}"'
        case list() | tuple():
            if level > depth:
                return _string(text(value))
            return "[" + ",".join(_encode(item, depth, level + 1) for item in value) + "]"
        case Record() if value.declared is not None:
            raise Unsupported(f"ConvertTo-Json of a whole {value.kind}: select the properties")
        case Record() | dict():
            return _object(dict(value.properties) if isinstance(value, Record) else value, depth, level)
    return _string(text(value))


def _object(properties: dict[str, Any], depth: int, level: int) -> str:
    if level > depth:
        return _string("@{" + "; ".join(f"{name}={text(item)}" for name, item in properties.items()) + "}")
    pairs = (f"{_string(name)}:{_encode(item, depth, level + 1)}" for name, item in properties.items())
    return "{" + ",".join(pairs) + "}"


def _string(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).translate(_ESCAPED)


def _decoded(value: Any) -> Any:
    if isinstance(value, dict):
        return Record("PSCustomObject", {name: _decoded(item) for name, item in value.items()})
    return [_decoded(item) for item in value] if isinstance(value, list) else value
