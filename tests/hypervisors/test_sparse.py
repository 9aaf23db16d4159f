"""Copies and digests of sparse files, by any pattern of blocks, zeros and holes."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.hypervisors.sparse import BLOCK, content_digest, copy_sparse

PIECES = st.lists(
    st.tuples(st.sampled_from(["data", "zeros", "hole"]), st.sampled_from([1, 511, 4096, BLOCK - 1, BLOCK, BLOCK + 1])),
    max_size=12,
)


def write(path: Path, pieces: list[tuple[str, int]]) -> bytes:
    content = b""
    with path.open("wb") as file:
        for kind, size in pieces:
            piece = (b"\xa5" if kind == "data" else b"\0") * size
            if kind == "hole":
                file.seek(size, os.SEEK_CUR)
            else:
                file.write(piece)
            content += piece
        file.truncate(len(content))
    return content


@given(PIECES)
def test_a_copy_reads_like_its_source(tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[str, int]]) -> None:
    folder = tmp_path_factory.mktemp("sparse")
    content = write(folder / "source", pieces)
    copy_sparse(folder / "source", folder / "copy")
    assert (folder / "copy").read_bytes() == content
    assert (folder / "copy").stat().st_mode & 0o777 == 0o600
    assert content_digest(folder / "copy") == content_digest(folder / "source")


@given(PIECES)
def test_the_digest_does_not_depend_on_holes(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("sparse")
    content = write(folder / "source", pieces)
    (folder / "full").write_bytes(content)
    assert content_digest(folder / "full") == content_digest(folder / "source")


@given(st.binary(min_size=1, max_size=3 * 4096), st.data())
def test_every_changed_byte_changes_the_digest(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("sparse")
    place = data.draw(st.integers(0, len(content) - 1))
    other = bytearray(content)
    other[place] ^= data.draw(st.integers(1, 255))
    (folder / "one").write_bytes(content)
    (folder / "other").write_bytes(other)
    assert content_digest(folder / "one") != content_digest(folder / "other")


def test_zeros_at_the_end_count(tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(b"x")
    (tmp_path / "long").write_bytes(b"x\0")
    assert content_digest(tmp_path / "short") != content_digest(tmp_path / "long")


def test_zeros_are_not_written(tmp_path: Path) -> None:
    (tmp_path / "source").write_bytes(bytes(4 << 20))
    copy_sparse(tmp_path / "source", tmp_path / "copy")
    found = (tmp_path / "copy").stat()
    assert (found.st_size, found.st_blocks) == (4 << 20, 0)
