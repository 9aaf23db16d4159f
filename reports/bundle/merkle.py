"""A Merkle tree as RFC 6962, section 2.1 has it: SHA-256, leaves and nodes hashed under different prefixes. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

_LEAF, _NODE = b"\x00", b"\x01"


def leaf_hash(content: bytes) -> bytes:
    """Return the hash of a leaf; it can never be taken for the hash of a node."""
    return hashlib.sha256(_LEAF + content).digest()


def tree_head(leaves: Sequence[bytes]) -> bytes:
    """Return the Merkle Tree Hash of the contents of leaves, in their order; of none, SHA-256 of nothing."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    return _head([leaf_hash(leaf) for leaf in leaves])


def _head(hashes: Sequence[bytes]) -> bytes:
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return hashlib.sha256(_NODE + _head(hashes[:split]) + _head(hashes[split:])).digest()
