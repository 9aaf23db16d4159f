"""What surrounds the measurement of replication: the data, the peer's pipeline, waiting for the stack."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import zstandard

from lab.bench import replication as row
from lab.bench.equipped import data_disk, protected_disks
from lab.bench.fill import fill
from lab.bench.peers import SCRIPTS
from lab.bench.protecting import COMPLETE, newest_event, wait_event
from lab.stacks.errors import StackError
from lab.stacks.machines import MachineState
from lab.stacks.protocol import Event, Stack
from lab.topology.load import load_topology
from lab.waiting import Deadline, DeadlineExceeded

EMBEDDED = Path(__file__).parents[2] / "topologies" / "embedded.yaml"
MIB = 1 << 20
SIZE = 3 * MIB + 5
compress = zstandard.ZstdCompressor(level=1).compress


def test_random_data_does_not_compress(tmp_path: Path) -> None:
    content = filled(tmp_path, "random")
    assert len(content) == SIZE
    assert len(compress(content)) > SIZE


def test_half_of_the_chunks_compress_as_text_does(tmp_path: Path) -> None:
    content = filled(tmp_path, "half")
    assert 2 <= MIB / len(compress(content[:MIB])) <= 3
    assert len(compress(content[MIB : 2 * MIB])) > MIB
    assert content[:MIB].count(0) == 0


def test_two_thirds_of_the_chunks_are_zeros(tmp_path: Path) -> None:
    content = filled(tmp_path, "zeros")
    assert content[: 2 * MIB].count(0) == 2 * MIB
    assert len(compress(content[2 * MIB : 3 * MIB])) > MIB


def filled(folder: Path, data: str) -> bytes:
    fill(folder / "bench.bin", SIZE, data)
    return (folder / "bench.bin").read_bytes()


def tools(folder: Path, **scripts: str) -> dict[str, str]:
    """Put programs into a folder that is searched first, and return the environment."""
    for name, text in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}")
        (folder / name).chmod(0o755)
    return {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}


def over_ssh(peer: str, folder: Path, from_device: Path, **more: str) -> int:
    """Copy between files over a stand-in for ssh that keeps what each login carries; return the status."""
    # What is direct is no business of a file system in memory.
    plain = 'exec /bin/dd $(printf "%s\\n" "$@" | grep -v direct)'
    login = f"""[ "$1 $2 $3" = "-F /keys/config next" ] || exit 9
export HOP=$((${{HOP:-0}} + 1))
tee {folder}/hop$HOP | bash -c "$4"
"""
    environment = tools(folder, **{"dd": plain, "ssh": login, **more})
    command = ["bash", "-c", SCRIPTS[peer], "bash", "/keys", str(from_device), str(folder / "to")]
    return subprocess.run(command, check=False, timeout=60, env=environment).returncode


@pytest.mark.parametrize("peer", ["dd", "relay"])
def test_every_byte_of_a_device_is_carried_to_the_other_one(tmp_path: Path, peer: str) -> None:
    (tmp_path / "from").write_bytes(os.urandom(3_000_000))
    (tmp_path / "to").write_bytes(bytes(3_000_000))
    assert over_ssh(peer, tmp_path, tmp_path / "from") == 0
    assert (tmp_path / "to").read_bytes() == (tmp_path / "from").read_bytes()
    assert over_ssh(peer, tmp_path, tmp_path / "missing") != 0


def test_a_relay_compresses_what_comes_as_it_is_and_sends_it_on(tmp_path: Path) -> None:
    content = bytes(MIB) + os.urandom(MIB)
    (tmp_path / "from").write_bytes(content)
    assert over_ssh("relay", tmp_path, tmp_path / "from") == 0
    assert (tmp_path / "hop1").read_bytes() == content
    sent = (tmp_path / "hop2").read_bytes()
    assert MIB < len(sent) < 1.01 * MIB
    assert zstandard.ZstdDecompressor().decompressobj().decompress(sent) == content
    assert not (tmp_path / "hop3").exists()


def test_a_relay_that_cannot_compress_is_a_failed_copy(tmp_path: Path) -> None:
    (tmp_path / "from").write_bytes(os.urandom(MIB))
    broken = '[ "$1" = -1 ] || exec /usr/bin/zstd "$@"\n/usr/bin/zstd "$@"\nexit 3'
    assert over_ssh("relay", tmp_path, tmp_path / "from", zstd=broken) == 3


def test_rsync_is_asked_for_a_whole_device_over_the_same_login(tmp_path: Path) -> None:
    environment = tools(tmp_path, rsync='printf "%s\\n" "$@"')
    command = ["bash", "-c", SCRIPTS["rsync"], "bash", "/keys", "/dev/from", "/dev/to"]
    said = subprocess.run(command, check=True, timeout=60, env=environment, capture_output=True, text=True).stdout
    words = said.splitlines()
    assert words[:2] == ["-e", "ssh -F /keys/config"]
    assert words[-2:] == ["/dev/from", "next:/dev/to"]
    assert {"--copy-devices", "--write-devices", "--whole-file", "--ignore-times", "--fsync"} <= set(words)


def test_the_disks_are_copied_one_behind_the_other(tmp_path: Path) -> None:
    plain = """words=; for word in "$@"; do case $word in iflag=direct) ;; oflag=*) words="$words oflag=seek_bytes";;
*) words="$words $word";; esac; done; exec /bin/dd $words"""
    environment = tools(tmp_path, dd=plain, blockdev='exec stat -c %s "$2"', sync="")
    parts = [os.urandom(2 * MIB), os.urandom(MIB)]
    for number, part in enumerate(parts):
        (tmp_path / f"part{number}").write_bytes(part)
    (tmp_path / "mirror").write_bytes(bytes(4 * MIB))
    command = ["sh", "-c", row.COPY, "sh", *(str(tmp_path / name) for name in ("mirror", "part0", "part1"))]
    subprocess.run(command, check=True, timeout=60, env=environment)
    assert (tmp_path / "mirror").read_bytes() == b"".join(parts) + bytes(MIB)


def test_disks_of_the_topology() -> None:
    topology = load_topology(EMBEDDED)
    assert [disk.name for disk in protected_disks(topology.machines["app1"])] == ["system", "data"]
    assert data_disk(topology, "app1").mount == "/data"


class Events:
    """As much of a stack as waiting for an event needs."""

    def __init__(self, *events: Event, state: MachineState = MachineState.INITIAL_REPLICATION) -> None:
        self._events = events
        self._state = state

    def events(self, after: int, wait: float = 0) -> Sequence[Event]:
        return [event for event in self._events if event.id > after][:2]

    def machine(self, name: str) -> Any:
        return SimpleNamespace(state=self._state, health=SimpleNamespace(causes=("broken",)))


def stack(*events: Event, state: MachineState = MachineState.INITIAL_REPLICATION) -> Stack:
    return cast("Stack", Events(*events, state=state))


def event(number: int, machine: str, kind: str = COMPLETE) -> Event:
    return Event(number, 0, kind, machine, "s1", None, {})


def test_the_event_of_the_machine_is_found_behind_others() -> None:
    source = stack(event(1, "app1"), event(2, "app2"), event(3, "app1", "progress"), event(4, "app1"))
    assert newest_event(source) == 4
    wait_event(source, 1, "app1", COMPLETE, Deadline.after(10))


def test_an_event_from_before_does_not_count() -> None:
    with pytest.raises(DeadlineExceeded, match="initial-replication-complete of app1"):
        wait_event(stack(event(1, "app1")), 1, "app1", COMPLETE, Deadline.after(0))


def test_a_failed_operation_ends_the_wait() -> None:
    with pytest.raises(StackError, match="app1 is enabling-failed: broken"):
        wait_event(stack(state=MachineState.ENABLING_FAILED), 0, "app1", COMPLETE, Deadline.after(60))
