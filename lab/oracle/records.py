"""Numbered records on a disk, written and read back inside a machine. Standard library only; copied there as one file.

A record is one block of 4096 bytes at ``sequence % slots``, little endian:
``magic 8s, run 16s, sequence u64, issued_ns u64, slot u64, crc32 u32``, then bytes that follow from run and sequence.
The writer has one record under way at a time (O_DIRECT, O_DSYNC): record n+1 is issued after n was acknowledged, so
whatever instant a copy shows, the records in it are all up to some n, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import struct
import sys
import threading
import time
import zlib
from typing import NoReturn

BLOCK = 4096
MAGIC = b"RLABREC1"
HEADER = struct.Struct("<8s16sQQQI")
SCAN_BLOCKS = 256


def pack(run: bytes, sequence: int, slots: int, issued_ns: int) -> bytes:
    """Return the block of a record."""
    slot = sequence % slots
    seed = HEADER.pack(MAGIC, run, sequence, issued_ns, slot, 0)
    filler = zlib.crc32(seed).to_bytes(4, "little") * ((BLOCK - HEADER.size) // 4 + 1)
    body = filler[: BLOCK - HEADER.size]
    crc = zlib.crc32(body, zlib.crc32(seed))
    return HEADER.pack(MAGIC, run, sequence, issued_ns, slot, crc) + body


def unpack(block: bytes, run: bytes, slot: int) -> int:
    """Return the sequence number in a block, 0 for a block that was never written, or -1 for a damaged one."""
    magic, found_run, sequence, issued_ns, found_slot, crc = HEADER.unpack_from(block)
    if not any(block):
        return 0
    seed = HEADER.pack(magic, found_run, sequence, issued_ns, found_slot, 0)
    whole = zlib.crc32(block[HEADER.size :], zlib.crc32(seed)) == crc
    mine = whole and (magic, found_run, found_slot) == (MAGIC, run, slot)
    return int(sequence) if mine else -1


def write(path: str, run: bytes, slots: int, per_second: float, first: int) -> NoReturn:
    """Write records from ``first`` on for ever, one line "sequence issued_ns acknowledged_ns" for each."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT | os.O_DSYNC, 0o600)
    if os.fstat(file).st_size < slots * BLOCK:
        os.ftruncate(file, slots * BLOCK)
    buffer = mmap.mmap(-1, BLOCK)
    pause = threading.Event()
    begin = time.monotonic()
    sequence = first
    while True:
        issued_ns = time.time_ns()
        buffer[:] = pack(run, sequence, slots, issued_ns)
        os.pwrite(file, buffer, (sequence % slots) * BLOCK)
        sys.stdout.write(f"{sequence} {issued_ns} {time.time_ns()}\n")
        sys.stdout.flush()
        sequence += 1
        pause.wait(max(0.0, begin + (sequence - first) / per_second - time.monotonic()))


def scan(path: str, run: bytes, slots: int) -> list[list[int]]:
    """Return the sequence number in every slot, in the order of the slots, as runs [first sequence, step, count]."""
    file = os.open(path, os.O_RDONLY)
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
    runs: list[list[int]] = []
    for start in range(0, slots, SCAN_BLOCKS):
        data = os.pread(file, SCAN_BLOCKS * BLOCK, start * BLOCK)
        for position in range(0, len(data), BLOCK):
            sequence = unpack(data[position : position + BLOCK], run, start + position // BLOCK)
            extend(runs, sequence)
    return runs


def extend(runs: list[list[int]], sequence: int) -> None:
    """Add one slot to the runs: either counting up (step 1) or the same special value (0 or -1) again (step 0)."""
    if runs:
        first, step, count = runs[-1]
        if (sequence > 0 and first > 0 and sequence == first + count) or (sequence <= 0 and sequence == first):
            runs[-1] = [first, step, count + 1]
            return
    runs.append([sequence, 1 if sequence > 0 else 0, 1])


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=("write", "scan"))
    parser.add_argument("--path", required=True)
    parser.add_argument("--run", required=True, type=bytes.fromhex)
    parser.add_argument("--slots", required=True, type=int)
    parser.add_argument("--per-second", type=float, default=20.0)
    parser.add_argument("--first", type=int, default=1)
    given = parser.parse_args()
    if given.command == "write":
        write(given.path, given.run, given.slots, given.per_second, given.first)
    else:
        sys.stdout.write(json.dumps(scan(given.path, given.run, given.slots)))


if __name__ == "__main__":
    main()
