import getpass
import shutil
from collections.abc import Iterator

import pytest
from bmc_backends import Emulated, EmulatedByIpmi, emulated, emulated_by_ipmi, refusal
from sshd_server import SSHD, Server, free_port, listens, start_sshd

from lab.hypervisors.model import Endpoint
from lab.images.identity import new_ssh_key
from lab.machines.ssh import Login, SshTransport
from lab.waiting import Deadline, wait_until


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if SSHD is None:
        pytest.skip("sshd is not installed: make bootstrap")
    folder = tmp_path_factory.mktemp("sshd")
    host, user = new_ssh_key("host"), new_ssh_key("user")
    for name, text in (("host", host.private), ("user", user.private), ("authorized", f"{user.public}\n")):
        (folder / name).touch(mode=0o600)
        (folder / name).write_text(text)
    port = free_port()
    (folder / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nUsePAM no\n"
        f"AuthorizedKeysFile {folder}/authorized\nStrictModes no\nPasswordAuthentication no\n"
        "PermitRootLogin prohibit-password\nSubsystem sftp internal-sftp\nMaxSessions 64\nUseDNS no\n"
    )
    login = Login(getpass.getuser(), folder / "user", host.public)
    with (folder / "log").open("wb") as log:
        process = start_sshd(folder, log)
    try:
        wait_until(lambda: listens(process, port), Deadline.after(10), "sshd", every=0.05)
        yield Server(process, Endpoint("127.0.0.1", port), login)
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def machine(server: Server) -> Iterator[SshTransport]:
    transport = server.transport()
    yield transport
    transport.close()


@pytest.fixture(scope="module")
def emulated_bmc() -> Iterator[Emulated]:
    reason = refusal()
    if reason is not None:
        pytest.skip(reason)
    with emulated() as found:
        yield found


@pytest.fixture(scope="module")
def ipmi_bmc(emulated_bmc: Emulated) -> Iterator[EmulatedByIpmi]:
    if shutil.which("ipmitool") is None:
        pytest.skip("ipmitool is not installed: make bootstrap")
    with emulated_by_ipmi(emulated_bmc) as found:
        yield found
