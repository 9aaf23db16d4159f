import contextlib
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.topology.naming import mac_for
from lab.topology.schema import keys_at, schema_text, topology_schema
from lab.topology.units import format_size, parse_duration, parse_size


@given(st.integers(min_value=1, max_value=2**60))
def test_a_size_survives_writing_and_reading(size: int) -> None:
    assert parse_size(format_size(size)) == size


@given(st.one_of(st.text(), st.integers(), st.none(), st.lists(st.text())))
def test_sizes_and_durations_are_read_or_refused(value: object) -> None:
    for parse in (parse_size, parse_duration):
        with contextlib.suppress(ValueError):
            assert parse(value) >= 0


@pytest.mark.parametrize(
    ("text", "seconds"), [("15 s", 15), ("2 h", 7200), ("250 ms", 0.25), ("1.5min", 90), ("1 d", 86400)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@given(st.text(), st.text(), st.text())
def test_macs_are_stable_unicast_and_qemu_s(topology: str, machine: str, key: str) -> None:
    mac = mac_for(topology, machine, key)
    assert re.fullmatch(r"52:54:00(:[0-9a-f]{2}){3}", mac)
    assert mac == mac_for(topology, machine, key)


def test_macs_differ_between_cards() -> None:
    cards = [(t, m, n) for t in ("a", "b") for m in ("app1", "app2", "ps1") for n in ("wan", "primary")]
    assert len({mac_for(*card) for card in cards}) == len(cards)


def test_exported_schema_is_current() -> None:
    exported = Path(__file__).parents[2] / "topologies" / "schema.json"
    assert exported.read_text() == schema_text(), "run: lab schema --write topologies/schema.json"


def test_known_keys_at_a_place() -> None:
    schema = topology_schema()
    assert "scenario" in keys_at(schema, ())
    assert "cpus" in keys_at(schema, ("machines", "app1"))
    assert "via" in keys_at(schema, ("machines", "app1", "interfaces", 0, "routes", 0))
    assert keys_at(schema, ("nowhere", 3)) == []
