"""Records in plain Python, written from domain facts 4.3 and not from the C code: a second opinion on the format."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence

BLOCK, SECTOR = 4096, 512
HEADER = struct.Struct("<8s16sIHHIIQQqq16s16s8III")
FRESH, LOG, HOT, MARKER, CANARY = range(5)
DIGEST_AT, CRC_AT = 88, 104


def crc32c_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = crc32c_table()


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def pack(
    run: str,
    place: tuple[int, int, int],
    kind: int,
    seq: int,
    slot: int,
    *,
    epoch: int = 1,
    issued: int = 0,
    parent: bytes = bytes(16),
    clock: Sequence[int] = (),
    payload: bytes = b"\x5a",
) -> bytes:
    machine, volume, lane = place
    rest = struct.pack(f"<{len(clock)}Q", *clock)
    rest += (payload * BLOCK)[: BLOCK - HEADER.size - len(rest)]
    fields = (b"DRORACL1", bytes.fromhex(run), epoch, machine, volume, lane, kind, seq, slot, issued, 0, parent)
    block = bytearray(HEADER.pack(*fields, bytes(16), *[0] * 8, len(clock), 0) + rest)
    block[DIGEST_AT:CRC_AT] = digest_of(block)
    crcs = [crc32c(block[at : at + SECTOR]) for at in range(0, BLOCK, SECTOR)]
    struct.pack_into("<8I", block, CRC_AT, *crcs)
    return bytes(block)


def digest_of(block: bytes) -> bytes:
    blank = bytearray(block)
    blank[DIGEST_AT : CRC_AT + 32] = bytes(48)
    return hashlib.blake2b(blank, digest_size=16).digest()


def verify(block: bytes) -> bool:
    blank = bytearray(block)
    blank[CRC_AT : CRC_AT + 32] = bytes(32)
    crcs = [crc32c(blank[at : at + SECTOR]) for at in range(0, BLOCK, SECTOR)]
    found = list(struct.unpack_from("<8I", block, CRC_AT))
    return crcs == found and digest_of(block) == block[DIGEST_AT:CRC_AT]
