"""What a recovery plan says: the document of ``PUT /v1/plans/{name}`` (domain 2.3).

``{"groups": [{"machines": ["app1"], "before": [ACTION, ...], "after": [ACTION, ...]}, ...]}``, where an action is
``{"script": NAME, "timeout_s": N}`` (a script that is registered on the configuration server; a plan carries no
commands) or ``{"manual": TEXT}`` (the run pauses until somebody says that it is done).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from lab.replication.configuration_server.ca import NAME
from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.parsing import Reader

MOST_GROUPS = 7
MOST_MACHINES = 100
MOST_ACTIONS = 20
MOST_TEXT = 400
DEFAULT_TIMEOUT_S = 300
MOST_TIMEOUT_S = 3600


@dataclass(frozen=True)
class Action:
    """A script or, without one, a manual action; ``timeout_s`` is for scripts."""

    script: str | None = None
    manual: str | None = None
    timeout_s: int = DEFAULT_TIMEOUT_S


@dataclass(frozen=True)
class Group:
    """Machines that fail over side by side, and what is done before and after."""

    machines: tuple[str, ...]
    before: tuple[Action, ...] = ()
    after: tuple[Action, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Groups in the order in which they fail over."""

    groups: tuple[Group, ...]

    @property
    def machines(self) -> tuple[str, ...]:
        """All machines, in order."""
        return tuple(machine for group in self.groups for machine in group.machines)

    @property
    def scripts(self) -> frozenset[str]:
        """The names of all scripts."""
        actions = (action for group in self.groups for action in (*group.before, *group.after))
        return frozenset(action.script for action in actions if action.script is not None)


def parse_plan(value: object) -> Plan:
    """Read a plan.

    Raises:
        BadRequest: it is not one, is too large, or has a machine twice; the message names the place.
    """
    reader = Reader.of(value, "plan")
    reader.only("groups")
    groups = reader.objects("groups")
    if not 1 <= len(groups) <= MOST_GROUPS:
        raise BadRequest(f"plan.groups: 1 to {MOST_GROUPS} groups are expected, not {len(groups)}")
    plan = Plan(tuple(_group(group) for group in groups))
    twice = sorted(name for name, count in Counter(plan.machines).items() if count > 1)
    if twice:
        raise BadRequest(f"plan.groups: {', '.join(twice)} can be in a plan only once")
    if len(plan.machines) > MOST_MACHINES:
        raise BadRequest(f"plan.groups: at most {MOST_MACHINES} machines are possible, not {len(plan.machines)}")
    return plan


def _group(reader: Reader) -> Group:
    reader.only("machines", "before", "after")
    machines = reader.texts("machines")
    if not machines:
        raise BadRequest(f"{reader.place}.machines: a group needs a machine")
    for name in machines:
        if not NAME.match(name):
            raise BadRequest(f"{reader.place}.machines: {name!r} is not a name")
    before, after = (_actions(reader.objects(key, default=True), reader.place) for key in ("before", "after"))
    return Group(tuple(machines), before, after)


def _actions(readers: Sequence[Reader], place: str) -> tuple[Action, ...]:
    if len(readers) > MOST_ACTIONS:
        raise BadRequest(f"{place}: at most {MOST_ACTIONS} actions are possible at one place")
    return tuple(_action(reader) for reader in readers)


def _action(reader: Reader) -> Action:
    if reader.has("manual"):
        reader.only("manual")
        text = reader.text("manual")
        if len(text) > MOST_TEXT:
            raise BadRequest(f"{reader.place}.manual: at most {MOST_TEXT} characters are possible")
        return Action(manual=text)
    reader.only("script", "timeout_s")
    seconds = reader.integer("timeout_s", 1, MOST_TIMEOUT_S) if reader.has("timeout_s") else DEFAULT_TIMEOUT_S
    return Action(script=reader.name("script"), timeout_s=seconds)
