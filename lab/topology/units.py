"""How people write sizes, times and names, and the numbers they become."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated

from pydantic import BeforeValidator, Field, WithJsonSchema

SIZE_UNITS = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
TIME_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = r"^\d+ ?(B|KiB|MiB|GiB|TiB)$"
_NO_SIZE = "should be a size such as '1200 MiB' (units: B, KiB, MiB, GiB, TiB)"
_TIME = r"^\d+(\.\d+)? ?(ms|s|min|h|d)$"


def parse_size(text: object) -> int:
    """Return the bytes that a text like ``1200 MiB`` means.

    Raises:
        ValueError: the text is not a whole number and a unit.
    """
    if not isinstance(text, str):
        raise ValueError(_NO_SIZE)  # noqa: TRY004 - what pydantic reports
    return _size(text)


@lru_cache(maxsize=1024)
def _size(text: str) -> int:
    """Return the bytes; large topologies say the same few sizes tens of thousands of times."""
    found = re.match(_SIZE, text)
    if found is None:
        raise ValueError(_NO_SIZE)
    return int(found.group(0).removesuffix(found[1])) * SIZE_UNITS[found[1]]


def parse_duration(text: object) -> float:
    """Return the seconds that a text like ``15 s`` means.

    Raises:
        ValueError: the text is not a number and a unit.
    """
    found = re.match(_TIME, text) if isinstance(text, str) else None
    if found is None:
        raise ValueError("should be a duration such as '15 s' (units: ms, s, min, h, d)")
    return float(found.group(0).removesuffix(found[2])) * TIME_UNITS[found[2]]


@lru_cache(maxsize=1024)
def format_size(size_bytes: int) -> str:
    """Return ``size_bytes`` in the largest unit that divides it: ``parse_size`` of it gives the number back."""
    unit = next(name for name, factor in reversed(SIZE_UNITS.items()) if size_bytes % factor == 0)
    return f"{size_bytes // SIZE_UNITS[unit]} {unit}"


Size = Annotated[
    int,
    BeforeValidator(parse_size),
    Field(gt=0),
    WithJsonSchema({"type": "string", "pattern": _SIZE, "examples": ["1200 MiB"]}),
]
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(gt=0),
    WithJsonSchema({"type": "string", "pattern": _TIME, "examples": ["15 s"]}),
]
Span = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(ge=0),
    WithJsonSchema({"type": "string", "pattern": _TIME, "examples": ["2 h"]}),
]
"""A duration that may be zero."""
Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,30}$")]
Subject = Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,40}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
