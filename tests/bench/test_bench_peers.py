"""Peers over SSH: which way they go, and the keys that are lent for it and taken back."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.bench.equipped import equipped
from lab.bench.peers import AUTHORISED, FOLDER, Hop, hops, lent_keys
from lab.errors import LabError
from lab.images.recipe import load_recipe
from lab.machines.ssh import SshTransport
from lab.topology.images import RecipeImage
from lab.topology.load import load_topology

EMBEDDED = Path(__file__).parents[2] / "topologies" / "embedded.yaml"
OWNERS = b"ssh-ed25519 OWNER\n"


class Ssh:
    """A machine with files, whose keys name it; ``fails`` says what does not work on it."""

    def __init__(self, name: str, fails: Callable[[str], bool] = lambda _: False) -> None:
        self.login = SimpleNamespace(host_key=f"ssh-ed25519 HOST-{name}")
        self.files = {AUTHORISED: OWNERS}
        self._name, self._fails = name, fails

    def check(self, *words: str, seconds: float = 0) -> str:
        self._refuse(" ".join(words))
        if words[0] == "ssh-keygen":
            self.files[words[-1]] = b"private"
            self.files[f"{words[-1]}.pub"] = f"ssh-ed25519 KEY-{self._name}\n".encode()
        elif words[0] == "rm":
            self.files = {path: text for path, text in self.files.items() if not path.startswith(words[-1])}
        return ""

    def run(self, *words: str, seconds: float = 0) -> None:
        self.check(*words)

    def get(self, path: str) -> bytes:
        return self.files[path]

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        self._refuse(f"put {path} {content.decode()}")
        assert mode == 0o600
        self.files[path] = content

    def _refuse(self, told: str) -> None:
        if self._fails(told):
            raise LabError(f"{self._name}: {told}")


def way(*machines: Ssh) -> list[Hop]:
    transports = [cast(SshTransport, machine) for machine in machines]
    return [Hop(*pair, f"10.0.0.{number}") for number, pair in enumerate(pairwise(transports), 1)]


def nothing_stays(*machines: Ssh) -> bool:
    return all(machine.files == {AUTHORISED: OWNERS} for machine in machines)


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        ("dd", [("app1", "mt1", "10.30.0.31")]),
        ("rsync", [("app1", "mt1", "10.30.0.31")]),
        ("relay", [("app1", "ps1", "10.10.0.21"), ("ps1", "mt1", "10.30.0.31")]),
    ],
)
def test_a_relay_goes_the_way_of_the_stack_and_the_others_straight(
    peer: str, expected: list[tuple[str, str, str]]
) -> None:
    lab: Any = SimpleNamespace(
        topology=equipped(load_topology(EMBEDDED)), machine=lambda name: SimpleNamespace(ssh=name)
    )
    assert [(hop.source, hop.target, hop.address) for hop in hops(lab, "app1", peer)] == expected


def test_a_process_server_has_what_a_relay_needs() -> None:
    topology = equipped(load_topology(EMBEDDED))
    image = topology.images[topology.machines[topology.stack.protect["app1"].process_server].image]
    assert isinstance(image, RecipeImage)
    assert {"zstd", "openssh-client"} <= set(load_recipe(image.recipe).packages)


def test_every_hop_has_a_key_of_its_own_that_the_next_machine_takes() -> None:
    source, relay, target = machines = Ssh("app1"), Ssh("ps1"), Ssh("mt1")
    with lent_keys(way(*machines)):
        assert relay.files[AUTHORISED] == OWNERS + b"ssh-ed25519 KEY-app1\n"
        assert target.files[AUTHORISED] == OWNERS + b"ssh-ed25519 KEY-ps1\n"
        assert source.files[f"{FOLDER}/known_hosts"] == b"10.0.0.1 ssh-ed25519 HOST-ps1\n"
        assert relay.files[f"{FOLDER}/known_hosts"] == b"10.0.0.2 ssh-ed25519 HOST-mt1\n"
        for caller, address in ((source, "10.0.0.1"), (relay, "10.0.0.2")):
            config = caller.files[f"{FOLDER}/config"].decode()
            assert config.startswith(f"Host next\n  HostName {address}\n")
            assert "StrictHostKeyChecking yes" in config
        assert source.files[AUTHORISED] == OWNERS
    assert nothing_stays(*machines)


def test_both_keys_are_taken_back_after_a_copy_that_failed() -> None:
    machines = Ssh("app1"), Ssh("ps1"), Ssh("mt1")
    with pytest.raises(LabError, match="no space"), lent_keys(way(*machines)):
        raise LabError("no space")
    assert nothing_stays(*machines)


@pytest.mark.parametrize("breaks", ["ssh-keygen", f"put {FOLDER}/config", f"put {FOLDER}/known_hosts"])
def test_the_first_key_is_taken_back_when_the_second_cannot_be_lent(breaks: str) -> None:
    machines = Ssh("app1"), Ssh("ps1", fails=lambda told: told.startswith(breaks)), Ssh("mt1")
    with pytest.raises(LabError, match=f"ps1: {breaks}"), lent_keys(way(*machines)):
        pytest.fail("nothing may be copied")
    assert nothing_stays(*machines)


def test_every_other_key_is_taken_back_when_one_cannot_be() -> None:
    source, relay = Ssh("app1"), Ssh("ps1")
    target = Ssh("mt1", fails=lambda told: told == f"put {AUTHORISED} {OWNERS.decode()}")
    with pytest.raises(LabError, match="mt1"), lent_keys(way(source, relay, target)):
        pass
    assert nothing_stays(source, relay)


def test_one_machine_that_is_server_and_master_target_gets_its_own_keys_back() -> None:
    source, both = Ssh("app1"), Ssh("ps1")
    with lent_keys(way(source, both, both)):
        assert both.files[AUTHORISED].count(b"KEY-") == 2
    assert nothing_stays(source, both)
