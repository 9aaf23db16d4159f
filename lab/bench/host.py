"""Rows of replication from a host: a paused libvirt domain, real providers on both sides, peers in turn.

Initial replication counts from the order to the first recovery point on the other side, over mutual TLS, durable, with
the record of changes begun; peers (see ``host_peers``) do the copy alone: nothing that begins again in the middle, no
point, and all but one no TLS. A delta counts from its cut to its point on the other side.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from lab.bench import host_peers
from lab.bench.host_pair import Machines, host_pair
from lab.bench.rows import Pair, Row, at_most, context, faster_than_peer
from lab.bench.unpacked import NotToBeHad
from lab.errors import LabError
from lab.replication.provider.qemu_nbd import ImageDisk

INITIAL, INITIAL_TLS = "host-initial-replication", "host-initial-replication-tls"
VIRTNBDBACKUP, QEMU_IMG = "host-initial-replication-virtnbdbackup", "host-initial-replication-qemu-img"
DELTA, DELTA_WIRE = "host-delta", "host-delta-wire"
NAMES = (INITIAL, INITIAL_TLS, VIRTNBDBACKUP, QEMU_IMG, DELTA, DELTA_WIRE)
INITIAL_GOAL, VIRTNBDBACKUP_GOAL, DELTA_SECONDS, WIRE_GOAL = 0.8, 3.0, 3.0, 1.1
BLOCK = 64 << 10
CHANGED = 0.01
DELTAS = 3
"""In each turn; a row counts all of them."""
RANDOM_FILES = 64
TOOL_S = 600.0
PIECE = 4 << 20


@dataclass(frozen=True)
class Sizes:
    """Bytes of the disk, and of random data on it."""

    disk: int = 4 << 30
    data: int = 512 << 20


@dataclass(frozen=True)
class Delta:
    """Seconds from the cut to its point over there, and bytes on the wire for each changed byte."""

    seconds: float
    wire: float


@dataclass
class Found:
    """What the turns gave: pairs of ours and a peer's seconds, and all deltas."""

    plain: list[Pair]
    tls: list[Pair]
    virtnbdbackup: list[Pair]
    qemu_img: list[Pair]
    deltas: list[Delta]


def host(turns: int, wanted: frozenset[str], sizes: Sizes | None = None) -> tuple[list[Row], str]:
    """Measure the rows that are wanted; return them, and why one was left out ("": none was). Raises LabError."""
    left_out = ""
    if VIRTNBDBACKUP in wanted:
        try:
            host_peers.VIRTNBDBACKUP.provide()
        except NotToBeHad as error:
            left_out, wanted = f"{VIRTNBDBACKUP} is left out: {error}", wanted - {VIRTNBDBACKUP}
    found = Found([], [], [], [], [])
    if not turns or not wanted:
        return [], left_out
    measured = sizes or Sizes()
    with host_pair(measured.disk, lambda image: _make_image(image, measured)) as machines:
        random_files(machines.folder / "random")
        for turn in range(turns):
            _turn(machines, f"s-bench-{turn}", wanted, found)
    return [row for row in rows(found) if row.name in wanted], left_out


def rows(found: Found) -> list[Row]:
    """Return the rows for which there is something."""
    made = []
    if found.plain:
        made.append(faster_than_peer(INITIAL, "s", found.plain, INITIAL_GOAL))
    if found.tls:
        made.append(context(INITIAL_TLS, "s", found.tls))
    if found.virtnbdbackup:
        made.append(faster_than_peer(VIRTNBDBACKUP, "s", found.virtnbdbackup, VIRTNBDBACKUP_GOAL))
    if found.qemu_img:
        made.append(context(QEMU_IMG, "s", found.qemu_img))
    if found.deltas:
        made.append(at_most(DELTA, "s", [delta.seconds for delta in found.deltas], DELTA_SECONDS))
        made.append(at_most(DELTA_WIRE, "bytes", [delta.wire for delta in found.deltas], WIRE_GOAL))
    return made


def _turn(machines: Machines, stream: str, wanted: frozenset[str], found: Found) -> None:
    """Measure the peers around ours, and the deltas while the replication is there."""
    plain = host_peers.nbdcopy_seconds(machines) if INITIAL in wanted else None
    replica = machines.open(stream)
    try:
        ours = _replicated(machines, stream)
        machines.compare(replica)
        if wanted & {DELTA, DELTA_WIRE}:
            found.deltas += [_delta(machines, stream, number) for number in range(DELTAS)]
            machines.compare(replica)
    finally:
        machines.end(stream)
    if plain is not None:
        found.plain.append((ours, plain))
    if INITIAL_TLS in wanted:
        found.tls.append((ours, host_peers.nbdcopy_tls_seconds(machines)))
    if VIRTNBDBACKUP in wanted:
        found.virtnbdbackup.append((ours, host_peers.virtnbdbackup_seconds(machines)))
    if QEMU_IMG in wanted:
        found.qemu_img.append((ours, host_peers.qemu_img_seconds(machines)))


def _replicated(machines: Machines, stream: str) -> float:
    begin = time.time_ns()
    machines.replicate(stream)
    return (machines.target.event("recovery-point") - begin) / 1e9


def _delta(machines: Machines, stream: str, number: int) -> Delta:
    """Change 1 % of the disk in random blocks, cut, and wait for the point over there."""
    blocks = random.Random(f"{stream} {number}").sample(  # noqa: S311 - places of writes, not secrets
        range(machines.size // BLOCK), int(machines.size * CHANGED) // BLOCK
    )
    for place, block in enumerate(blocks):
        machines.write(machines.folder / "random" / str(place % RANDOM_FILES), block * BLOCK, BLOCK)
    before = sent_bytes(machines.port)
    made = machines.source.order("cut", stream=stream)
    arrived = machines.target.event("recovery-point", sequence=made["sequence"])
    wire = (sent_bytes(machines.port) - before) / (len(blocks) * BLOCK)
    return Delta((arrived - int(made["begin_ns"])) / 1e9, wire)


def sent_bytes(port: int) -> int:
    """Return how many bytes the kernel has sent over the connections to a port of this machine. Raises LabError."""
    command = ["ss", "-tinH", "state", "established", f"dport = :{port}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=TOOL_S).stdout
    found = [int(number) for number in re.findall(r"\bbytes_sent:(\d+)", said)]
    if not found:
        raise LabError(f"nobody is connected to port {port}")
    return sum(found)


def random_files(folder: Path) -> None:
    """Make files of random bytes that QEMU may read."""
    for number in range(RANDOM_FILES):
        path = folder / str(number)
        path.write_bytes(os.urandom(BLOCK))
        path.chmod(0o644)


def _make_image(image: Path, sizes: Sizes) -> None:
    """Make a disk with random data in pieces of 4 MiB all over it."""
    create = ["qemu-img", "create", "-q", "-f", "qcow2", str(image), str(sizes.disk)]
    subprocess.run(create, check=True, timeout=TOOL_S)
    disk = ImageDisk(image, sizes.disk)
    try:
        step = sizes.disk * PIECE // sizes.data // PIECE * PIECE
        for offset in range(0, sizes.disk, step):
            disk.write(offset, os.urandom(PIECE))
    finally:
        disk.close()
