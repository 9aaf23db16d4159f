"""The kept connection, against a real OpenSSH server."""

import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sshd_server import Server, free_port

from lab.errors import LabError
from lab.hypervisors.model import Endpoint
from lab.images.identity import new_ssh_key
from lab.machines.ssh import CommandFailed, ConnectionLost, SshTransport
from lab.machines.testinfra_host import testinfra_host as host_of
from lab.waiting import Deadline, DeadlineExceeded, wait_until

HOSTILE = [
    "", " ", "a b", "'", '"', "'; touch /tmp/owned; '", "$(false)", "`false`", "$HOME", "${HOME}", "*", "~", "a\nb",
    "\\", "a\\'b", "-n", "--", "!", "#", "&", "|", ">x", "(", "\t", "é€\U0001f600", "%s\\n", "a=b", "{a,b}",
]  # fmt: skip
ARGUMENT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=20)


def test_a_result_has_status_and_both_outputs(machine: SshTransport) -> None:
    result = machine.run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.status, result.stdout, result.stderr, result.ok) == (3, "out\n", "err\n", False)
    assert machine.run("true").ok


def test_standard_input_is_handed_over(machine: SshTransport) -> None:
    assert machine.run("cat", stdin="one\ntwo\n").stdout == "one\ntwo\n"
    assert machine.run("cat", stdin="").stdout == ""


def test_standard_input_does_not_go_a_character_at_a_time(machine: SshTransport) -> None:
    """Invoke's way takes 10 ms for each: 50 s for these."""
    text = "a\n" * 2500
    assert machine.run("cat", stdin=text, seconds=20).stdout == text


def test_a_character_of_several_bytes_arrives_wherever_it_stands(machine: SshTransport) -> None:
    """Invoke decodes each 1000 bytes alone."""
    text = "ä\n" * 2500
    assert machine.run("cat", stdin=text).stdout == text


def test_a_checked_command_gives_its_output_or_its_last_words(machine: SshTransport) -> None:
    assert machine.check("printf", "%s", "hello") == "hello"
    with pytest.raises(CommandFailed, match=r"m1: `sh -c .*` ended with 4: no good"):
        machine.check("sh", "-c", "echo no good >&2; exit 4")
    with pytest.raises(CommandFailed, match="127"):
        machine.check("no-such-program")


def test_hostile_arguments_arrive_as_they_are(machine: SshTransport) -> None:
    got = machine.check("printf", r"%s\0", *HOSTILE)
    assert got.split("\0")[:-1] == HOSTILE


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(arguments=st.lists(ARGUMENT.filter(lambda text: "\r" not in text), min_size=1, max_size=4))
def test_any_arguments_arrive_as_they_are(machine: SshTransport, arguments: list[str]) -> None:
    assert machine.check("printf", r"%s\0", *arguments).split("\0")[:-1] == arguments


def test_files_are_written_with_their_mode_and_read_back(machine: SshTransport, tmp_path: Path) -> None:
    content = bytes(range(256)) * 1000
    path = tmp_path / "a file"
    machine.put(content, str(path), mode=0o600)
    assert path.read_bytes() == content
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert machine.get(str(path)) == content
    machine.put(b"", str(path))
    assert machine.get(str(path)) == b""


def test_a_file_that_cannot_be_is_no_lost_connection(machine: SshTransport, tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="missing"):
        machine.get(str(tmp_path / "missing"))
    with pytest.raises(CommandFailed, match="missing/file"):
        machine.put(b"x", str(tmp_path / "missing" / "file"))
    with pytest.raises(CommandFailed, match=str(tmp_path)):
        machine.put(b"x", str(tmp_path))
    kept = machine._connection
    assert machine.run("true").ok
    assert machine._connection is kept


def test_one_connection_serves_all_commands_and_threads(machine: SshTransport, server: Server) -> None:
    machine.run("true")
    kept = machine._connection
    results: list[str] = []
    threads = [
        threading.Thread(target=lambda word=word: results.append(machine.check("echo", word)), name=word)
        for word in ("a", "b", "c")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(results) == ["a\n", "b\n", "c\n"]
    assert machine._connection is kept


def test_a_stream_yields_output_while_the_program_runs(machine: SshTransport) -> None:
    with machine.stream("sh", "-c", "echo out; echo err >&2; exec sleep 600") as channel:
        channel.settimeout(10)
        seen = b""
        while len(seen) < len(b"out\nerr\n"):
            seen += channel.recv(100)
        assert seen == b"out\nerr\n"
        assert not channel.exit_status_ready()
    assert machine.run("true").ok


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that answers in capitals, on a port of the machine."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(1 << 16):
                    connection.sendall(data.upper())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)


def ask(port: int, question: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(question)
        answer = b""
        while len(answer) < len(question) and (data := connection.recv(1 << 16)):
            answer += data
    return answer


def test_a_tunnel_carries_connections_both_ways(machine: SshTransport, echo: int) -> None:
    with machine.tunnel("127.0.0.1", echo) as tunnel:
        assert tunnel.host == "127.0.0.1"
        assert ask(tunnel.port, b"hello") == b"HELLO"
        assert ask(tunnel.port, b"x" * 300_000) == b"X" * 300_000
    with pytest.raises(OSError, match="refused"):
        ask(tunnel.port, b"hello")


def test_a_tunnel_to_nobody_closes_the_connection(machine: SshTransport) -> None:
    with machine.tunnel("127.0.0.1", free_port()) as tunnel:
        assert ask(tunnel.port, b"hello") == b""
        assert machine.run("true").ok


def test_a_tunnel_lives_on_over_a_new_connection(machine: SshTransport, server: Server, echo: int) -> None:
    with machine.tunnel("127.0.0.1", echo) as tunnel:
        assert ask(tunnel.port, b"before") == b"BEFORE"
        machine.close()
        assert ask(tunnel.port, b"after") == b"AFTER"


def test_another_host_key_is_refused(server: Server) -> None:
    login = replace(server.login, host_key=new_ssh_key("impostor").public)
    with closing(SshTransport("m1", server.endpoint, login)) as machine:
        with pytest.raises(ConnectionLost, match=r"[Hh]ost key"):
            machine.run("true")
        with pytest.raises(DeadlineExceeded, match=r"SSH login to m1.*[Hh]ost key"):
            machine.wait_ready(Deadline.after(0.1))


def test_another_user_key_is_refused(server: Server, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.touch(mode=0o600)
    key.write_text(new_ssh_key("stranger").private)
    machine = SshTransport("m1", server.endpoint, replace(server.login, private_key=key))
    with closing(machine), pytest.raises(ConnectionLost, match=r"[Aa]uthentication"):
        machine.run("true")


def test_waiting_for_a_machine_ends_with_the_reason(server: Server) -> None:
    nobody = SshTransport("m1", Endpoint("127.0.0.1", free_port()), server.login)
    with pytest.raises(DeadlineExceeded, match=r"no SSH login to m1 within 0 s: .*[Uu]nable to connect"):
        nobody.wait_ready(Deadline.after(0.1))
    server.transport().wait_ready(Deadline.after(10))


def test_a_command_that_outlives_its_deadline_is_given_up(machine: SshTransport) -> None:
    with pytest.raises(DeadlineExceeded, match="m1: `sleep 600` did not end within 1 s"):
        machine.run("sleep", "600", seconds=1)
    assert machine.check("echo", "on") == "on\n"


@pytest.mark.parametrize("call", ["run", "check"])
def test_a_connection_that_dies_in_a_command_is_lost_and_then_made_anew(
    machine: SshTransport, server: Server, tmp_path: Path, call: str
) -> None:
    started = tmp_path / "started"
    killer = threading.Thread(
        target=lambda: (wait_until(started.exists, Deadline.after(10), "start", every=0.02), server.kill_sessions())
    )
    killer.start()
    with pytest.raises(ConnectionLost, match="m1: the connection died during"):
        getattr(machine, call)("sh", "-c", f"touch {started}; exec sleep 30", seconds=20)
    killer.join(10)
    assert machine.check("echo", "again") == "again\n"


def test_a_program_killed_by_a_signal_has_failed_but_the_connection_has_not(machine: SshTransport) -> None:
    kept = machine._open()
    with pytest.raises(CommandFailed):
        machine.check("sh", "-c", "kill -9 $$")
    assert machine._open() is kept


def test_a_dead_connection_is_noticed_by_file_transfers(machine: SshTransport, server: Server, tmp_path: Path) -> None:
    machine.put(b"x", str(tmp_path / "file"))
    server.kill_sessions()
    transport = machine._connection.transport  # type: ignore[union-attr]
    wait_until(lambda: not transport.is_active(), Deadline.after(10), "end of the connection", every=0.02)
    assert machine.get(str(tmp_path / "file")) == b"x"


def test_testinfra_uses_the_kept_connection(machine: SshTransport, tmp_path: Path) -> None:
    machine.run("true")
    kept = machine._connection
    path = tmp_path / "it's a file"
    path.write_text("content")
    host = host_of(machine)
    assert host.file(str(path)).content_string == "content"
    assert not host.file(str(tmp_path / "missing")).exists
    assert host.run("exit %s", "5").rc == 5
    assert machine._connection is kept


def test_closing_twice_does_no_harm(machine: SshTransport) -> None:
    machine.close()
    machine.run("true")
    machine.close()
    machine.close()


def test_losing_a_machine_is_an_error_of_the_lab() -> None:
    assert issubclass(ConnectionLost, LabError)
    assert issubclass(CommandFailed, LabError)


def test_a_login_alone_runs_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    transport = server.transport()
    ran: list[str] = []
    monkeypatch.setattr(transport, "shell", lambda script, **_: ran.append(script))
    transport.wait_ready(Deadline.after(10), login_only=True)
    assert ran == []
    transport.close()
