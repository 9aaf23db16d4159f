"""Digests of disks: every byte counts, zeros are hashed like anything else, differences have a place."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab.measure.chunk_digests import CHUNK, chunk_digests
from lab.measure.disks import DiskDigest


def disk(path: Path) -> DiskDigest:
    return DiskDigest(tuple(chunk_digests(str(path))))


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(bytes(CHUNK) + b"\x01" * CHUNK + bytes(CHUNK) + b"tail" * 1024)
    return path


def test_a_digest_is_the_sha256_of_its_mib(image: Path) -> None:
    content = image.read_bytes()
    expected = [hashlib.sha256(content[at : at + CHUNK]).hexdigest() for at in range(0, len(content), CHUNK)]
    assert list(disk(image).chunks) == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(place=st.integers(0, 3 * CHUNK + 4095), bit=st.integers(0, 7))
def test_one_changed_bit_is_found_where_it_is(image: Path, place: int, bit: int) -> None:
    before = disk(image)
    content = bytearray(image.read_bytes())
    content[place] ^= 1 << bit
    changed = image.with_name("changed")
    changed.write_bytes(content)
    after = disk(changed)
    assert before.differing(after) == [place // CHUNK]
    assert before.root != after.root


def test_a_longer_disk_differs_in_what_only_it_has(image: Path) -> None:
    longer = image.with_name("longer")
    longer.write_bytes(image.read_bytes() + bytes(CHUNK))
    assert disk(image).differing(disk(longer)) == [3, 4]


def test_equal_disks_do_not_differ(image: Path) -> None:
    assert disk(image).differing(disk(image)) == []
