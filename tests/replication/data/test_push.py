from __future__ import annotations

import os

import pytest

from lab.replication.common.control import CommandFailed
from lab.replication.process_server.push import push_install
from lab.replication.process_server.ssh import SshTarget
from lab.replication.support.facts import facts_of_this_machine

# Does what sshd does with a command: gives it to the user's shell.
FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$@" > "$(dirname "$0")/arguments"
echo call >> "$(dirname "$0")/calls"
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


def machine_says(tmp_path, release: str, kernel: str = "6.1.0-13-amd64", architecture: str = "x86_64") -> None:
    """Make the far side of the connection another machine."""
    answers = {"uname": f'[ "$1" = -r ] && echo {kernel} || echo {architecture}', "cat": f"echo '{release}'"}
    for name, answer in answers.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{answer}\n")
        (tmp_path / "bin" / name).chmod(0o755)


def push(target, package) -> None:
    order = {key: str(getattr(target, key)) for key in ("address", "user", "key_file", "known_hosts")}
    push_install({**order, "package": str(package)})


@pytest.mark.requirement("GEN-P2S-OS")
@pytest.mark.parametrize(
    ("says", "named"),
    [
        (('ID="suse"\nVERSION_ID=11', "6.1.0", "x86_64"), "system 'suse'"),
        (("ID=debian\nVERSION_ID=11", "6.1.0", "x86_64"), "version '11' of debian"),
        (("ID=debian\nVERSION_ID=12", "5.10.0", "x86_64"), "kernel '5.10.0' is older than 6.1"),
        (("ID=debian\nVERSION_ID=12", "6.1.0", "riscv64"), "architecture 'riscv64'"),
    ],
)
def test_an_unsupported_machine_is_refused_after_one_question(target, tmp_path, says, named):
    machine_says(tmp_path, *says)
    with pytest.raises(CommandFailed, match=named) as refused:
        push(target, tmp_path / "not-even-read")
    assert refused.value.kind == "unsupported-system"
    assert "supported for target secondary-site: debian 12" in str(refused.value)
    assert (tmp_path / "bin" / "calls").read_text().split() == ["call"], "more was done than to ask"


@pytest.mark.skipif(facts_of_this_machine().firmware != "bios", reason="this machine stands for the far side")
def test_a_supported_machine_is_asked_on(target, tmp_path):
    """The control of the test above: without a reason to refuse, the installation goes on to its package."""
    machine_says(tmp_path, "ID=debian\nVERSION_ID=12")
    with pytest.raises(FileNotFoundError, match="not-there"):
        push(target, tmp_path / "not-there")
