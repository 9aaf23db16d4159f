"""Initial replication beside its peers: the stack first, then each peer on a copy of the same disks, in every turn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lab.bench import fill, stages
from lab.bench.asked import Asked
from lab.bench.equipped import data_disk, mirror_disk, protected_disks
from lab.bench.mirror import SYNCHRONOUS, Mirror, connected, mirror_of, synchronise
from lab.bench.peers import hops, lent_keys, seconds_over_ssh
from lab.bench.protecting import end_protection, install, replicate
from lab.bench.replication_rows import LIMIT, NAME, PLAIN, TUNNELLED, Turn, rows, wanted
from lab.bench.wireguard import tunnelled
from lab.machines.ssh import SshTransport
from lab.measure.disks import device_by_serial
from lab.provision.lab import Lab
from lab.stacks.adapters import deployed
from lab.stacks.protocol import Stack
from lab.topology.naming import disk_serial

FILLED = 0.8
FILL_TOOL = "/run/lab-bench-fill.py"
FILL_SECONDS = 900.0
COPY = """set -eu
to=$1; shift; at=0
sync
for from in "$@"; do
  dd if="$from" of="$to" bs=1M iflag=direct oflag=direct,seek_bytes seek="$at" conv=fsync,notrunc status=none
  at=$((at + $(blockdev --getsize64 "$from")))
done
"""


@dataclass(frozen=True)
class Bench:
    """One protected machine of an equipped lab, and what is to be measured on it."""

    stack: Stack
    lab: Lab
    name: str
    mirror: Mirror
    asked: Asked

    def data_set(self, data: str, what: list[str]) -> None:
        """Measure one data set."""
        turns: list[Turn] = []
        for _ in range(self.asked.times):
            turn = self._ours(data)
            turns.append(turn)
            self.asked.report(rows(data, turns))
            end_protection(self.stack, self.name)
            self._copy()
            for peer in what:
                with self.asked.problems.put_aside(f"{NAME}-{data}-{peer}"):
                    self._measure(peer, turn)
                    self.asked.report(rows(data, turns))

    def _ours(self, data: str) -> Turn:
        install(self.stack, self.lab, self.name, self.asked.board)
        end_protection(self.stack, self.name)
        self._fill(data)
        self.asked.board.step(f"{self.name} replication", "initial replication")
        turn = Turn(*replicate(self.stack, self.name))
        self.asked.board.step(f"{self.name} replication", f"ready: copied in {turn.copied:.1f} s")
        return turn

    def _fill(self, data: str) -> None:
        disk, ssh = data_disk(self.lab.topology, self.name), self._ssh
        self.asked.board.step(f"{self.name} {disk.name}", f"filling: {data}")
        ssh.put(Path(fill.__file__).read_bytes(), FILL_TOOL)
        path, size = f"{disk.mount}/bench.bin", int(disk.size * FILLED)
        ssh.check("python3", FILL_TOOL, path, str(size), data, seconds=FILL_SECONDS)
        self.asked.board.step(f"{self.name} {disk.name}", "ready")

    def _copy(self) -> None:
        """Put what the stack has replicated on the disk that the peers copy."""
        self.asked.board.step(f"{self.name} mirror", "copying")
        disks = protected_disks(self.lab.topology.machines[self.name])
        devices = [device_by_serial(self._ssh, disk_serial(disk.name)) for disk in disks]
        self._ssh.check("sh", "-c", COPY, "sh", self.mirror.disk, *devices, seconds=FILL_SECONDS)
        stages.send_tool(end.ssh for end in self.mirror.ends)
        self.asked.board.step(f"{self.name} mirror", "ready")

    def _measure(self, what: str, turn: Turn) -> None:
        subject = f"{self.name} {what}"
        self.asked.board.step(subject, "measuring")
        if what == LIMIT:
            turn.stages = stages.measured(self.mirror, self._size)
            self.asked.board.step(subject, "ready")
            return
        stages.spoil(self.mirror)
        seconds = self._seconds(what)
        stages.compare(self.mirror, what)
        turn.peers[what] = seconds
        self.asked.board.step(subject, f"ready: {seconds:.1f} s")

    def _seconds(self, peer: str) -> float:
        mirror = self.mirror
        if peer == PLAIN:
            with connected(mirror, SYNCHRONOUS):
                return synchronise(mirror)
        if peer == TUNNELLED:
            with tunnelled(mirror) as inside, connected(inside, SYNCHRONOUS):
                return synchronise(inside)
        serial = disk_serial(mirror_disk(self.name))
        devices = [device_by_serial(end.ssh, serial) for end in mirror.ends]
        with lent_keys(hops(self.lab, self.name, peer)):
            return seconds_over_ssh(peer, self._ssh, *devices)

    @property
    def _ssh(self) -> SshTransport:
        return self.mirror.source.ssh

    @property
    def _size(self) -> int:
        return sum(disk.size for disk in protected_disks(self.lab.topology.machines[self.name]))


def replication(lab: Lab, asked: Asked) -> None:
    """Measure the rows that are asked for on an equipped lab. A peer that fails takes no other row with it."""
    name = next(iter(lab.topology.stack.protect))
    mirror = mirror_of(lab, name)
    with deployed(lab, asked.board) as stack:
        stack.set_up()
        bench = Bench(stack, lab, name, mirror, asked)
        for data, what in wanted(asked.names).items():
            with asked.problems.put_aside(f"{NAME}-{data}"):
                bench.data_set(data, what)
        with asked.problems.put_aside(f"{NAME}: end"):
            end_protection(stack, name)
