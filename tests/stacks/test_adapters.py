"""Another package's stack is found by its entry point."""

import re
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest

from lab.errors import BadInput
from lab.stacks import adapters
from lab.stacks.drbd.adapter import ADAPTER
from lab.topology.load import load_topology


def registered(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str]) -> None:
    found = EntryPoints([EntryPoint(name, value, adapters.ENTRY_POINTS) for name, value in points])
    monkeypatch.setattr(adapters, "entry_points", lambda group: found.select(group=group))


def test_a_registered_adapter_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, ("ours", "lab.stacks.drbd.adapter:ADAPTER"))
    assert adapters.adapter("ours", "t.yaml") is ADAPTER


def test_the_labs_own_names_stay_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    registered(monkeypatch, ("reference", "json:loads"))
    assert adapters.adapter("reference", "t.yaml") is adapters.ADAPTERS["reference"]


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ((), "t.yaml: no stack adapter 'ours'; there are: reference"),
        ((("ours", "json:loads"), ("ours", "json:dumps")), "more than one package"),
        ((("ours", "no_such_module:x"),), "cannot be loaded from no_such_module:x"),
        ((("ours", "json:no_such_function"),), "cannot be loaded"),
        ((("ours", "json:loads"),), "json:loads is a function, not a lab.stacks.adapter.Adapter"),
    ],
)
def test_what_cannot_be_used_is_one_message(monkeypatch: pytest.MonkeyPatch, points, message: str) -> None:
    registered(monkeypatch, *points)
    with pytest.raises(BadInput, match=message):
        adapters.adapter("ours", "t.yaml")


@pytest.mark.parametrize(
    ("name", "adapter", "message"),
    [
        ("drbd", "reference", "stack reference replicates over servers"),
        ("embedded", "drbd", "stack drbd mirrors machines to a peer"),
        ("drbd", "drdb", "no stack adapter 'drdb'; there are: drbd, reference"),
    ],
)
def test_a_stack_that_cannot_serve_a_topology_is_refused(tmp_path: Path, name: str, adapter: str, message: str) -> None:
    text = (Path(__file__).parents[2] / "topologies" / f"{name}.yaml").read_text()
    path = tmp_path / "lab.yaml"
    path.write_text(re.sub(r"  adapter: \w+", f"  adapter: {adapter}", text))
    with pytest.raises(BadInput, match=message):
        adapters.refuse_unserved(load_topology(path))


def test_drbd_is_registered_as_another_packages_stack_is() -> None:
    assert adapters.adapter("drbd", "t.yaml") is ADAPTER
