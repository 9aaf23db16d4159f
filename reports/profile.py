"""Where the time of a run went, from its events: by phase, by subject, by test, and what the harness itself computed.

Read of the ledger: ``phase`` (name, seconds; recorded when it ends), ``test`` (nodeid, duration, phases; recorded when
it ends), the measurement ``harness-cpu-seconds``, and the times of the first and the last event. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby

from lab.ledger import Event, EventKind
from reports.model import Profile, ProfileSpan

CPU = "harness-cpu-seconds"
_FRACTION_DIGITS = 6
"""``datetime`` has microseconds, the ledger nanoseconds."""


def profile(events: Sequence[Event]) -> Profile | None:
    """Return where the time went, None for a run that recorded no phase (an older one)."""
    phases = [event for event in events if event.kind is EventKind.PHASE]
    if not phases:
        return None
    origin = _seconds(events[0].at)
    spans = [_span(event, 0, str(event.data["name"]), float(event.data["seconds"]), origin) for event in phases]
    tests = list(_tests(events, origin))
    spans += _subjects(tests)
    spans += tests
    cpu = [float(event.data["value"]) for event in events if event.data.get("name") == CPU]
    return Profile(
        seconds=_seconds(events[-1].at) - origin,
        spans=tuple(sorted(spans, key=lambda span: (span.depth, span.began_s))),
        harness_cpu_s=cpu[-1] if cpu else None,
    )


def _tests(events: Iterable[Event], origin: float) -> Iterator[ProfileSpan]:
    for event in events:
        if event.kind is EventKind.TEST:
            yield _span(event, 2, str(event.data["nodeid"]), float(event.data.get("duration", 0.0)), origin)


def _subjects(tests: Iterable[ProfileSpan]) -> list[ProfileSpan]:
    """Return a span for every run of tests of one subject, from the first one's beginning to the last one's end."""
    found = []
    for subject, group in groupby(tests, key=lambda span: subject_of(span.name)):
        members = list(group)
        began = members[0].began_s
        found.append(ProfileSpan(1, subject, began, members[-1].began_s + members[-1].seconds - began))
    return found


def subject_of(nodeid: str) -> str:
    """Return the folder below the suites that a test is in, else its file."""
    parts = nodeid.partition("::")[0].split("/")
    return parts[1] if parts[0] == "suites" and len(parts) > 1 else parts[-1]


def _span(event: Event, depth: int, name: str, seconds: float, origin: float) -> ProfileSpan:
    return ProfileSpan(depth, name, max(0.0, _seconds(event.at) - origin - seconds), seconds)


def _seconds(at: str) -> float:
    whole, _, fraction = at.rstrip("Z").partition(".")
    text = f"{whole}.{fraction[:_FRACTION_DIGITS].ljust(_FRACTION_DIGITS, '0')}"
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
