"""Stages alone: what the tool in the machine says of a disk, and the seconds that follow from it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab.bench import pieces, stages
from lab.bench.mirror import Mirror
from lab.bench.stages import Compressed, Rates, compare, fastest_cipher, parse_compressed, parse_speed, seconds_of
from lab.errors import LabError

MIB = 1 << 20


@pytest.fixture(autouse=True)
def through_the_page_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system in memory knows no direct reads."""
    monkeypatch.delattr(os, "O_DIRECT")


def disk(folder: Path, content: bytes) -> str:
    (folder / "disk").write_bytes(content)
    return str(folder / "disk")


@pytest.mark.parametrize("size", [MIB, 3 * MIB, 1412 * MIB, 1000 * MIB + 512])
def test_pieces_are_spread_from_the_begin_to_the_end(size: int) -> None:
    found = pieces.offsets(size)
    assert len(found) == min(pieces.COUNT, size // MIB)
    assert found == sorted(set(found))
    assert found[0] == 0
    assert 0 <= size - MIB - found[-1] < pieces.BLOCK
    assert all(offset % pieces.BLOCK == 0 for offset in found)


def test_compressing_tells_zeros_from_what_compresses(tmp_path: Path) -> None:
    path = disk(tmp_path, bytes(2 * MIB) + b"text" * (MIB // 4) + os.urandom(MIB))
    found = pieces.compress(path)
    assert (found["read"], found["nonzero"]) == (4 * MIB, 2 * MIB)
    assert MIB < found["compressed"] < 1.01 * MIB
    assert found["seconds"] > 0
    content = parse_compressed(json.dumps(found))
    assert content.nonzero == 0.5
    assert 0.25 < content.compressed < 0.26


def test_a_disk_of_zeros_gives_no_limit(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="nothing but zeros"):
        parse_compressed(json.dumps(pieces.compress(disk(tmp_path, bytes(2 * MIB)))))


def test_what_is_spoilt_is_another_disk_until_it_is_copied_again(tmp_path: Path) -> None:
    content = os.urandom(3 * MIB)
    path = disk(tmp_path, content)
    before = pieces.digest(path)
    pieces.spoil(path)
    assert pieces.digest(path) != before
    disk(tmp_path, content)
    assert pieces.digest(path) == before


def test_the_tool_is_one_file_that_runs_by_itself(tmp_path: Path) -> None:
    path = disk(tmp_path, os.urandom(MIB))
    command = [sys.executable, pieces.__file__, "compress", path]
    said = subprocess.run(command, check=False, capture_output=True, timeout=60)
    if said.returncode:
        pytest.skip(f"no direct reads here: {said.stderr[-100:]!r}")
    assert json.loads(said.stdout)["read"] == MIB


def test_seconds_are_those_of_the_bytes_that_every_tool_has_to_move() -> None:
    content = Compressed(nonzero=0.5, compressed=0.25, rate=50)
    found = seconds_of(1000, content, Rates(read=100, encrypt=10, network=50, write=250))
    assert found == {"read": 10, "compress": 10, "encrypt": 25, "network": 5, "write": 2}


def test_the_fastest_cipher_is_found_with_and_without_vectors() -> None:
    asked: list[tuple[str, ...]] = []

    def check(*words: str, seconds: float = 0) -> str:
        asked.append(words)
        plain = any(word.startswith("OPENSSL_ia32cap=") for word in words)
        return f"+H:16384\n+F:25:{words[-1]}:{900.5 if plain and words[-1].startswith('chacha') else 100}\n"

    assert fastest_cipher(cast("Any", SimpleNamespace(check=check))) == 900.5
    assert len(asked) == 6
    assert all(words[0] == "env" for words in asked)


def test_openssls_line_for_machines_is_read() -> None:
    assert parse_speed("+H:16384\n+F:25:ChaCha20-Poly1305:3691655646.75\n") == 3691655646.75
    with pytest.raises(LabError, match="unknown option"):
        parse_speed("speed: unknown option\n")


def test_openssl_here_says_what_is_read() -> None:
    command = ["openssl", "speed", "-mr", "-seconds", "1", "-bytes", "16384", "-evp", "chacha20-poly1305"]
    said = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert parse_speed(said) > 1e6


def test_a_copy_that_differs_is_no_result() -> None:
    def end(digest: str) -> Any:
        return SimpleNamespace(ssh=SimpleNamespace(check=lambda *words, seconds: digest))

    compare(cast("Mirror", SimpleNamespace(disk="x", ends=(end("a"), end("a")))), "rsync")
    with pytest.raises(LabError, match="what rsync has written"):
        compare(cast("Mirror", SimpleNamespace(disk="x", ends=(end("a"), end("b")))), "rsync")


def test_every_stage_is_measured_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    said = json.dumps({"read": 100, "nonzero": 100, "compressed": 50, "seconds": 2})
    source = SimpleNamespace(check=lambda *words, seconds: said)
    monkeypatch.setattr(stages, "read_rate", lambda ssh, device: 10.0 if ssh is source and device == "disk" else 0)
    monkeypatch.setattr(stages, "device_write_rate", lambda ssh, device: 20.0 if ssh == "target" else 0)
    monkeypatch.setattr(stages, "network_rate", lambda server, client, address: 5.0 if client is source else 0)
    monkeypatch.setattr(stages, "fastest_cipher", lambda ssh: 25.0)
    mirror = SimpleNamespace(
        disk="disk", source=SimpleNamespace(ssh=source), target=SimpleNamespace(ssh="target", address="10.0.0.1")
    )
    found = stages.measured(cast("Mirror", mirror), 1000)
    assert found == {"read": 100, "compress": 20, "encrypt": 20, "network": 100, "write": 50}
