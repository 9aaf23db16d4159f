"""DRBD and WireGuard between two machines: what they are told, and that nothing of them stays."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.bench import mirror as module
from lab.bench.churn_mirror import BLOCK, Marked, watch
from lab.bench.equipped import equipped
from lab.bench.mirror import End, Mirror, connected, mirror_of, mounted, synchronise
from lab.bench.wireguard import INSIDE, INTERFACE, KEY, tunnelled
from lab.errors import LabError
from lab.machines.ssh import SshTransport
from lab.topology.load import load_topology
from lab.waiting import DeadlineExceeded

EMBEDDED = Path(__file__).parents[2] / "topologies" / "embedded.yaml"
STATES = (
    "version: 8.4.11 (api:1/proto:86-101)\n 3: cs:{} ro:Primary/Secondary ds:UpToDate/{} C r-----\n    ns:0 oos:0\n"
)
WAITING, MET = STATES.format("WFConnection", "DUnknown"), STATES.format("Connected", "Inconsistent")
COPYING, WHOLE = STATES.format("SyncSource", "Inconsistent"), STATES.format("Connected", "UpToDate")


class Ssh:
    """A machine that remembers what it was told, and answers from a list when it is asked for a state."""

    def __init__(
        self, name: str, states: list[str] | None = None, fails: Callable[[str], bool] = lambda _: False
    ) -> None:
        self.machine = name
        self.told: list[str] = []
        self.files: dict[str, str] = {}
        self._states = iter(states or [])
        self._fails = fails

    def check(self, *words: str, seconds: float = 0) -> str:
        if words == ("cat", "/proc/drbd"):
            return next(self._states)
        self.told.append(" ".join(words))
        if self._fails(self.told[-1]):
            raise LabError(f"{self.machine}: {self.told[-1]}")
        return f"key-of-{self.machine}\n" if words[0] == "sh" else ""

    def run(self, *words: str, seconds: float = 0) -> None:
        self.told.append(" ".join(words))

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        self.files[path] = content.decode()


def mirror(source: Ssh, target: Ssh) -> Mirror:
    ends = (
        End(name, address, cast("SshTransport", ssh))
        for name, address, ssh in (("app1", "10.10.0.11", source), ("mt1", "10.30.0.31", target))
    )
    return Mirror(3, *ends)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.0)


def test_addresses_are_those_by_which_the_machines_reach_each_other() -> None:
    lab = SimpleNamespace(topology=equipped(load_topology(EMBEDDED)), machine=lambda name: SimpleNamespace(ssh=name))
    found = mirror_of(cast("Any", lab), "app1")
    assert [(end.name, end.address) for end in found.ends] == [("app1", "10.10.0.11"), ("mt1", "10.30.0.31")]
    assert found.disk == "/dev/disk/by-id/virtio-mirror-app1"


def test_both_machines_have_the_same_configuration() -> None:
    source, target = Ssh("app1", [WAITING, MET]), Ssh("mt1")
    with connected(mirror(source, target), "A"):
        pass
    assert source.files == target.files
    (text,) = source.files.values()
    for line in (
        "protocol A;",
        "device /dev/drbd3 minor 3;",
        "flexible-meta-disk /dev/disk/by-id/virtio-meta-app1;",
        "address 10.10.0.11:7793;",
        "address 10.30.0.31:7793;",
    ):
        assert f"    {line}\n" in text


def test_the_first_copy_begins_with_the_promotion_and_nothing_stays() -> None:
    source, target = Ssh("app1", [MET, COPYING, COPYING, WHOLE]), Ssh("mt1")
    one = mirror(source, target)
    with connected(one, "C"):
        assert synchronise(one) >= 0
    made = ["modprobe drbd", "drbdadm create-md --force bench-app1", "drbdadm up bench-app1"]
    gone = ["drbdadm down bench-app1", "drbdadm -- --force wipe-md bench-app1", "rm -f /etc/drbd.d/bench-app1.res"]
    assert source.told == [*made, "drbdadm primary --force bench-app1", *gone]
    assert target.told == [*made, *gone]


def test_what_was_set_up_is_taken_off_when_the_other_machine_fails() -> None:
    source, target = Ssh("app1"), Ssh("mt1", fails=lambda told: "create-md" in told)
    with pytest.raises(LabError, match="create-md"), connected(mirror(source, target), "C"):
        pass
    for ssh in (source, target):
        assert ssh.told[-3:][0] == "drbdadm down bench-app1"


def test_a_copy_that_never_ends_is_told_with_the_last_state(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SYNCHRONISE_SECONDS", 0.0)
    one = mirror(Ssh("app1", [COPYING] * 9), Ssh("mt1"))
    with pytest.raises(DeadlineExceeded, match=r"end of the first copy of bench-app1(.|\n)*SyncSource"):
        synchronise(one)


def test_a_file_system_is_unmounted_also_after_a_failure() -> None:
    ssh = Ssh("app1")
    with pytest.raises(LabError), mounted(cast("SshTransport", ssh), "/dev/drbd0", "/mnt/x"):
        raise LabError("fio failed")
    assert ssh.told == ["mkdir -p /mnt/x", "mount -o noatime /dev/drbd0 /mnt/x", "umount /mnt/x"]


def test_a_tunnel_joins_both_machines_by_each_others_keys() -> None:
    source, target = Ssh("app1"), Ssh("mt1")
    with tunnelled(mirror(source, target)) as inside:
        assert [end.address for end in inside.ends] == list(INSIDE)
        assert inside.text("C").count("10.255.255.") == 2
    setting = next(told for told in source.told if told.startswith("wg set"))
    assert f"private-key {KEY}" in setting
    assert "peer key-of-mt1 endpoint 10.30.0.31:51871 allowed-ips 10.255.255.2/32" in setting
    assert "ip address add 10.255.255.2/30 dev lab-bench" in target.told
    assert source.told[-2:] == target.told[-2:] == [f"ip link delete {INTERFACE}", f"rm -f {KEY}"]


def test_a_tunnel_that_cannot_be_made_leaves_no_key() -> None:
    source, target = Ssh("app1"), Ssh("mt1", fails=lambda told: told.startswith("ip link add"))
    with pytest.raises(LabError, match="ip link add"), ExitStack() as stack:
        stack.enter_context(tunnelled(mirror(source, target)))
    assert f"rm -f {KEY}" in source.told
    assert f"rm -f {KEY}" in target.told


class Block:
    """Both ends of a mirror whose last block arrives after some questions, or never."""

    def __init__(self, questions: int | None) -> None:
        self._questions = questions
        self._written, self._asked = "", 0
        self.places: set[str] = set()

    def check(self, *words: str, seconds: float = 0) -> str:
        if words[2].startswith("dd"):
            self._asked += 1
            there = self._questions is not None and self._asked > self._questions
            return self._written if there else ""
        self._written, self._asked = f"{int(words[-1]):04096d}", 0
        self.places.add(words[-2])
        return ""


def marked(block: Block) -> Marked:
    return Marked(mirror(cast("Ssh", block), cast("Ssh", block)), 16 * BLOCK)


def test_a_copy_is_behind_until_the_block_is_below_it() -> None:
    block = Block(2)
    assert marked(block).behind(7) > 0
    assert block.places == {"15"}


def test_what_is_finer_than_the_commands_is_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.bench.churn_mirror.SAMPLE_SECONDS", 0.05)
    behind, broke = watch({"app1": marked(Block(0)), "app2": marked(Block(0))}, 0.3)
    assert not broke
    assert set(itertools.chain(*behind.values())) == {0.05}
    assert len(behind["app1"]) >= 2


def test_a_copy_that_does_not_follow_ends_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.bench.churn_mirror.SAMPLE_SECONDS", 0.01)
    monkeypatch.setattr("lab.bench.churn_mirror.ABANDON_SECONDS", 0.02)
    behind, broke = watch({"app1": marked(Block(None))}, 60.0)
    assert "block 1 of bench-app1" in broke or "bench-app1" in broke
    assert behind["app1"] == [0.02] * 4
