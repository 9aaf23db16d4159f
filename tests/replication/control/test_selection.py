from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.replication.configuration_server.errors import BadRequest
from lab.replication.configuration_server.selection import NoSuchPoint, Selector, parse_selector, select
from lab.replication.configuration_server.sessions import Point


def point(number: int, *, application: bool = False, shared: str | None = None) -> Point:
    kind = "application-consistent" if application else "crash-consistent"
    return Point(f"p-{number}", "s", number, number * 100, number * 100 + 10, 0, {"kind": kind, "shared": shared})


POINTS = [point(1, application=True, shared="g"), point(2, shared="h"), point(3, application=True), point(4)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, "p-4"),
        ("latest", "p-4"),
        ("latest-processed", "p-4"),
        ("latest-application-consistent", "p-3"),
        ("latest-shared", "p-2"),
        ("latest-shared-application-consistent", "p-1"),
        ("p-2", "p-2"),
        ({"time_ns": 310}, "p-3"),
        ({"time_ns": 309}, "p-2"),
        ({"time": "2100-01-01T00:00:00+00:00"}, "p-4"),
    ],
)
def test_what_is_meant(value, expected):
    assert select(POINTS, parse_selector(value)).id == expected


@pytest.mark.parametrize("value", ["p-9", {"time_ns": 5}, "latest-sharde"])
def test_what_is_not_there(value):
    with pytest.raises(NoSuchPoint):
        select(POINTS, parse_selector(value))


@pytest.mark.parametrize("value", [5, "", [], {}, {"time": "yesterday"}, {"time": "2026-01-01T00:00:00"}, {"at": 1}])
def test_what_cannot_be_read(value):
    with pytest.raises(BadRequest):
        parse_selector(value)


@given(st.integers(0, 600))
def test_a_time_never_gives_a_later_point(time_ns):
    try:
        found = select(POINTS, Selector("", time_ns))
    except NoSuchPoint:
        assert time_ns < POINTS[0].end_ns
    else:
        assert found.end_ns <= time_ns
        assert not [p for p in POINTS if found.end_ns < p.end_ns <= time_ns]


def test_only_the_latest_waits_for_what_is_under_way():
    assert Selector().wants_all_data
    assert not parse_selector("latest-processed").wants_all_data
    assert parse_selector("p-1").names_one_point
    assert not parse_selector({"time_ns": 1}).names_one_point
