from __future__ import annotations

import os

import pytest

from lab.replication.common.control import CommandFailed
from lab.replication.process_server.ssh import SshTarget

# Does what sshd does with a command: gives it to the user's shell.
FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$@" > "$(dirname "$0")/arguments"
for last; do :; done
exec /bin/sh -c "$last"
"""


@pytest.fixture
def target(tmp_path, monkeypatch):
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(FAKE_SSH)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return SshTarget("192.0.2.1", "root", tmp_path / "key", tmp_path / "known_hosts")


def test_arguments_arrive_as_they_are(target):
    assert target.run(["printf", "%s|", "a b", "$HOME; rm -rf x", "'"], timeout=20) == "a b|$HOME; rm -rf x|'|"


def test_host_keys_are_checked_and_nothing_asks(target, tmp_path):
    target.run(["true"], timeout=20)
    arguments = (tmp_path / "bin" / "arguments").read_text().splitlines()
    assert {"StrictHostKeyChecking=yes", "BatchMode=yes", f"UserKnownHostsFile={tmp_path / 'known_hosts'}"} <= set(
        arguments
    )


def test_placed_files_are_private_and_complete(target, tmp_path):
    large = os.urandom(3 << 20)
    target.place(str(tmp_path / "work"), {"large": large, "empty": b""}, timeout=20)
    placed = tmp_path / "work"
    assert {path.name: path.read_bytes() for path in placed.iterdir()} == {"large": large, "empty": b""}
    assert placed.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in placed.iterdir()} == {0o600}


def test_failures_and_silence_are_named(target):
    with pytest.raises(CommandFailed, match="no-such-file") as failed:
        target.run(["cat", "/no-such-file"], timeout=20)
    assert failed.value.kind == "push-failed"
    with pytest.raises(CommandFailed) as silent:
        target.run(["sleep", "30"], timeout=0.5)
    assert silent.value.kind == "push-timeout"
