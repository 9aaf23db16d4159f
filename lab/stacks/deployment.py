"""A stack that was deployed, as suites see it: its parts, how it is set up, and what it has discovered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Component:
    """A part of the stack that has registered."""

    id: str
    kind: str
    name: str
    addresses: tuple[str, ...]
    last_seen_ns: int | None


@dataclass(frozen=True)
class SetupStep:
    """One step of setting up a deployment: its kind, what it is about, and what is said about it."""

    kind: str
    name: str
    document: Mapping[str, Any]


@dataclass(frozen=True)
class Discovered:
    """A machine in the inventory of a VMware host; ``name`` is the lab's, ``display_name`` the host's."""

    name: str
    display_name: str
    power: str


@dataclass(frozen=True)
class SiteInventory:
    """What the stack has discovered at one site; ``problem`` says why it does not know now."""

    vcenter: bool
    machines: tuple[Discovered, ...]
    advisories: tuple[str, ...]
    problem: str | None = None
