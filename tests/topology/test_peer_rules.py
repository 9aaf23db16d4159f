"""Machines that are replicated straight to another one, and what is wrong with such a pair."""

from pathlib import Path

import pytest

from lab.errors import BadInput
from lab.topology.load import load_topology

DRBD = (Path(__file__).parents[2] / "topologies" / "drbd.yaml").read_text()


@pytest.fixture
def edited(tmp_path: Path):
    def load(*changes: tuple[str, str]):
        text = DRBD
        for old, new in changes:
            assert old in text
            text = text.replace(old, new, 1)
        path = tmp_path / "lab.yaml"
        path.write_text(text)
        return load_topology(path)

    return load


def test_a_pair_needs_no_servers(edited) -> None:
    topology = edited()
    assert topology.stack.protected == {"app1"}
    assert topology.stack.protect_to_peer["app1"].rpo_threshold == 5


STANDBY_DATA = "size: 256 MiB, purpose: data}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("peer: standby1", "peer: standby2"), "there is no machine 'standby2'"),
        (("roles: [standby]", "roles: [console]"), "standby1 does not have role 'standby'"),
        (("site: recovery\n    roles", "site: primary\n    roles"), "is at the site of the machine it protects"),
        (("roles: [protected]", "roles: [console]"), "app1 does not have role 'protected'"),
        ((STANDBY_DATA, "size: 255 MiB, purpose: data}"), "needs a data disk 'data' of 256 MiB, as app1 has"),
        ((STANDBY_DATA, "size: 256 MiB, purpose: data, filesystem: ext4}"), "its file system is that of app1"),
        (("{network: wan, address: 10.30.0.21}", "{network: lan, address: 10.40.0.21}"), "no network in common"),
        (("purpose: data}\n      - {name: changes, size: 16 MiB, purpose: change-log}", "purpose: data}"), "is a peer"),
    ],
)
def test_what_is_wrong_with_a_pair_is_said(edited, change: tuple[str, str], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        edited(change, ("networks:\n", "networks:\n  lan: {kind: switch, subnet: 10.40.0.0/24}\n"))


def test_a_peer_is_one_machines_and_not_protected_itself(edited) -> None:
    line = "    app1: {peer: standby1, port: 7788, rpo_threshold: 5 s}\n"
    both = line + line.replace("app1", "standby1").replace("peer: standby1", "peer: app1")
    with pytest.raises(BadInput, match="standby1 is protected itself, and can be nobody's peer"):
        edited((line, both))
    twice = line + line.replace("app1", "standby2")
    with pytest.raises(BadInput, match="standby1 is the peer of app1 already"):
        edited((line, twice))
