"""The remote shell: unmodified clients, logins, limits, and what is refused."""

import base64
import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import winrm
from hyperv_host import PASSWORD, USER, server
from pypsrp.shell import Process, WinRS
from pypsrp.wsman import WSMan
from requests.exceptions import RequestException, SSLError
from winrm.exceptions import InvalidCredentialsError, WinRMOperationTimeoutError, WSManFaultError
from winrm.protocol import Protocol

from lab.emulators.common.faults import Delay, Drop, Fail
from lab.emulators.hyperv.emulator import Emulator
from lab.emulators.hyperv.wsman import envelope
from lab.emulators.hyperv.wsman.envelope import NO_SHELL, TOO_MANY_SHELLS, Fault
from lab.emulators.hyperv.wsman.server import MOST_REQUEST, WsmanServer

SILENT = "$ProgressPreference = 'SilentlyContinue'; "
Host = tuple[Emulator, WsmanServer]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with server(tmp_path) as found:
        yield found


def protocol(serving: WsmanServer, user: str = USER, transport: str = "ntlm", **more: object) -> Protocol:
    given: dict[str, object] = {
        "username": user,
        "password": PASSWORD,
        "ca_trust_path": str(serving.certificate),
        "proxy": None,
    }
    return Protocol(serving.url, transport=transport, **(given | more))  # type: ignore[arg-type]


def encoded(script: str) -> list[str]:
    return ["-NoProfile", "-NonInteractive", "-EncodedCommand", base64.b64encode(script.encode("utf-16-le")).decode()]


def ran(found: Protocol, script: str, codepage: int = 65001) -> tuple[bytes, bytes, int]:
    shell = found.open_shell(codepage=codepage)
    command = found.run_command(shell, "powershell", encoded(script))
    out, err, code = found.get_command_output(shell, command)
    found.cleanup_command(shell, command)
    found.close_shell(shell)
    return out, err, code


@pytest.mark.parametrize("transport", ["basic", "ntlm"])
def test_unmodified_pywinrm_over_https(host: Host, transport: str) -> None:
    session = winrm.Session(
        host[1].url, auth=(USER, PASSWORD), transport=transport, ca_trust_path=str(host[1].certificate), proxy=None
    )
    answer = session.run_ps("Write-Output 'hällo'; exit 3")
    assert (answer.std_out, answer.status_code) == (b"h\x84llo\r\n", 3), "in code page 437, which pywinrm asks for"
    assert session.run_cmd("hostname").std_out == b"HV01\r\n"


@pytest.mark.parametrize("auth", ["basic", "ntlm", "negotiate"])
def test_unmodified_pypsrp_over_https(host: Host, auth: str) -> None:
    client = WSMan(
        "127.0.0.1", port=host[1].port, username=USER, password=PASSWORD, ssl=True, auth=auth,
        cert_validation=str(host[1].certificate), no_proxy=True,
    )  # fmt: skip
    with client, WinRS(client, codepage=65001) as shell:
        process = Process(shell, "powershell", encoded(SILENT + "'hällo'"))
        process.invoke()
        process.signal("http://schemas.microsoft.com/wbem/wsman/1/windows/shell/signal/terminate")
        assert (process.stdout.decode(), process.stderr, process.rc) == ("hällo\r\n", b"", 0)


@pytest.mark.parametrize("client", ["pywinrm", "pypsrp"])
def test_bodies_are_encrypted_by_the_login_over_plain_http(tmp_path: Path, client: str) -> None:
    with server(tmp_path, tls=False) as (_, serving):
        if client == "pywinrm":
            found = protocol(serving, message_encryption="always")
            assert ran(found, SILENT + "'x'") == (b"x\r\n", b"", 0)
            return
        wsman = WSMan(
            "127.0.0.1", port=serving.port, username=USER, password=PASSWORD, ssl=False, auth="negotiate",
            encryption="always", no_proxy=True,
        )  # fmt: skip
        with wsman, WinRS(wsman) as shell:
            process = Process(shell, "hostname")
            process.invoke()
            assert process.stdout == b"HV01\r\n"


def test_basic_is_refused_over_plain_http(tmp_path: Path) -> None:
    with server(tmp_path, tls=False) as (_, serving), pytest.raises(InvalidCredentialsError):
        protocol(serving, transport="basic").open_shell()


@pytest.mark.parametrize("transport", ["basic", "ntlm"])
@pytest.mark.parametrize("wrong", [{"password": "wrong"}, {"username": "nobody"}])
def test_a_wrong_login_is_refused(host: Host, transport: str, wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidCredentialsError):
        protocol(host[1], transport=transport, **wrong).open_shell()


def test_a_login_that_is_not_bound_to_the_channel_is_refused(host: Host) -> None:
    with pytest.raises(InvalidCredentialsError):
        protocol(host[1], send_cbt=False).open_shell()


def test_clients_refuse_a_certificate_that_they_do_not_trust(host: Host) -> None:
    with pytest.raises(SSLError):
        protocol(host[1], ca_trust_path=None).open_shell()


def test_a_shell_of_another_user_is_invisible(host: Host) -> None:
    mine, other = protocol(host[1]), protocol(host[1], user="other")
    shell = mine.open_shell()
    with pytest.raises(WSManFaultError) as refused:
        other.run_command(shell, "hostname")
    assert refused.value.wsman_fault_code == NO_SHELL
    with pytest.raises(WSManFaultError):
        other.close_shell(shell)
    assert mine.run_command(shell, "hostname")


def test_a_user_has_so_many_shells_and_no_more(tmp_path: Path) -> None:
    with server(tmp_path, most_shells=2) as (_, serving):
        mine = protocol(serving)
        first, _ = mine.open_shell(), mine.open_shell()
        with pytest.raises(WSManFaultError) as refused:
            mine.open_shell()
        assert refused.value.wsman_fault_code == TOO_MANY_SHELLS
        protocol(serving, user="other").open_shell()
        mine.close_shell(first, close_session=False)
        mine.open_shell()


def test_an_idle_shell_is_gone(host: Host) -> None:
    mine = protocol(host[1])
    shell = mine.open_shell(idle_timeout="PT0.2S")
    time.sleep(0.3)
    with pytest.raises(WSManFaultError) as refused:
        mine.run_command(shell, "hostname")
    assert refused.value.wsman_fault_code == NO_SHELL


def test_slow_output_is_told_by_a_timeout_and_comes_later(host: Host) -> None:
    mine = protocol(host[1], operation_timeout_sec=1, read_timeout_sec=20)
    shell = mine.open_shell()
    with host[0].host.lock:
        command = mine.run_command(shell, "powershell", encoded(SILENT + "Get-VM; 'late'"))
        with pytest.raises(WinRMOperationTimeoutError):
            mine.get_command_output_raw(shell, command)
    assert mine.get_command_output(shell, command)[0] == b"late\r\n"


def test_output_is_cut_to_the_size_of_an_envelope(host: Host) -> None:
    mine = protocol(host[1])
    names = [f"{number:04}{'x' * 500}" for number in range(600)]
    host[0].host.machines += [_machine(host[0], name) for name in names]
    out, _, code = ran(mine, SILENT + "ConvertTo-Json -Compress -InputObject @(Get-VM | Select-Object 'Name')")
    assert code == 0
    assert len(out) > 300_000 > mine.max_env_sz
    assert all(f'"{name}"'.encode() in out for name in names)


def _machine(found: Emulator, name: str) -> object:
    from uuid import uuid4

    from lab.emulators.hyperv.machine import VirtualMachine

    return VirtualMachine(uuid4(), name, name, 1, 1 << 26, found.host.clock(), "C:\\")


def test_a_command_line_is_as_long_as_cmd_takes_it(host: Host) -> None:
    mine = protocol(host[1])
    assert ran(mine, f"{SILENT}'{'a' * 2900}'")[2] == 0
    out, err, code = ran(mine, f"{SILENT}'{'a' * 3100}'")
    assert (out, err, code) == (b"", b"The command line is too long.\r\n", 1)


def test_the_default_code_page_knows_few_letters(host: Host) -> None:
    assert ran(protocol(host[1]), SILENT + "'日本'", codepage=437)[0] == b"??\r\n"
    assert ran(protocol(host[1]), SILENT + "'日本'")[0] == "日本\r\n".encode()


def test_progress_is_noise_on_the_error_stream_and_no_error(host: Host) -> None:
    _, err, code = ran(protocol(host[1]), "'x'")
    assert b"Preparing modules for first use." in err
    assert code == 0


def test_what_is_not_emulated_is_said_with_line_and_column(host: Host) -> None:
    out, err, code = ran(protocol(host[1]), SILENT + "\niex 'x'")
    assert (out, err, code) == (b"", b"EMULATOR: unsupported PowerShell: line 2 col 1: \"iex 'x'\"\r\n", 97)
    session = protocol(host[1])
    shell = session.open_shell()
    assert session.get_command_output(shell, session.run_command(shell, "dir", ["C:\\"]))[2] == 97


def asked(serving: WsmanServer, body: bytes, **headers: str) -> tuple[int, bytes]:
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    context = ssl.create_default_context(cafile=serving.certificate)
    connection = http.client.HTTPSConnection("127.0.0.1", serving.port, timeout=20, context=context)
    try:
        sent = {"Authorization": f"Basic {token}", "Content-Type": "application/soap+xml"} | headers
        connection.request("POST", sent.pop("path", "/wsman"), body, sent)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_foreign_documents_are_refused(host: Host) -> None:
    entity = (
        b'<!DOCTYPE a [<!ENTITY x "y">]><s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope">&x;</s:Envelope>'
    )
    for body in (entity, b"<!DOCTYPE a><a/>", b"no xml", b"<a/>"):
        status, answer = asked(host[1], body)
        assert status == 500
        assert b"s:Sender" in answer
    assert asked(host[1], b"x", path="/other")[0] == 404
    assert asked(host[1], b"x" * (MOST_REQUEST + 1))[0] == 413
    assert asked(host[1], b"x", **{"Content-Length": "nonsense"})[0] == 411
    assert asked(host[1], b"x", Authorization="Basic !!!")[0] == 401
    assert asked(host[1], b"x", Authorization="Kerberos YII=")[0] == 401


def test_an_unknown_action_or_resource_is_a_fault(host: Host) -> None:
    mine = protocol(host[1])
    for wrong in ("http://schemas.xmlsoap.org/ws/2004/09/transfer/Get", "nonsense"):
        header = mine.build_wsman_header("http://schemas.microsoft.com/wbem/wsman/1/windows/shell/cmd", wrong)
        with pytest.raises(WSManFaultError):
            _send(mine, header)
    with pytest.raises(WSManFaultError):
        _send(mine, mine.build_wsman_header("http://schemas.microsoft.com/wbem/wsman/1/wmi", "x"))


def _send(mine: Protocol, header: dict[str, object]) -> None:
    import xmltodict

    mine.send_message(xmltodict.unparse({"env:Envelope": header | {"env:Body": {}}}))


def test_a_silent_client_blocks_nobody(host: Host) -> None:
    with socket.create_connection(("127.0.0.1", host[1].port)):
        assert ran(protocol(host[1]), SILENT + "'x'")[0] == b"x\r\n"


def test_a_test_makes_calls_go_wrong(host: Host) -> None:
    found, serving = host
    found.faults.next("Create", Fail(Fault(42, "injected")), Drop(), Delay(0.1))
    mine = protocol(serving)
    with pytest.raises(WSManFaultError, match="injected"):
        mine.open_shell()
    with pytest.raises(RequestException):
        protocol(serving).open_shell()
    begin = time.monotonic()
    shell = mine.open_shell()
    assert time.monotonic() - begin >= 0.1
    found.faults.next("Command", Drop(after=True))
    with pytest.raises(RequestException):
        mine.run_command(shell, "hostname")


def test_accounts_are_readable_by_their_owner_only_and_printed_nowhere(host: Host, tmp_path: Path) -> None:
    assert (tmp_path / "accounts").stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in repr(host[0].accounts) + repr(host[0].settings)


def test_durations() -> None:
    assert envelope.seconds("PT60.000S", 1) == 60
    assert envelope.seconds("PT1H2M", 1) == 3720
    assert envelope.seconds("nonsense", 1) == envelope.seconds("", 1) == envelope.seconds("P", 1) == 1
