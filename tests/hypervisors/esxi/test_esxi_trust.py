"""Whom the ESXi driver trusts, what becomes of its sessions, and what a licence forbids."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from esxi_backends import ACCOUNT, MEMORY, Emulated, emulated
from esxi_machines import MIB, SYSTEM, spec
from pyVmomi import vim

from lab.emulators.common.certificate import make_certificate
from lab.emulators.common.faults import Delay, Fail
from lab.emulators.esxi.service import Licence
from lab.hypervisors.esxi import EsxiHypervisor, Trust, connect
from lab.hypervisors.esxi.transfer import HttpsTransfer
from lab.hypervisors.model import DiskAttachment, DiskId, PowerState
from lab.hypervisors.protocols import (
    FreeLicence,
    HypervisorError,
)


def test_a_wrong_password_is_refused_and_not_repeated_in_the_message(host: Emulated) -> None:
    with pytest.raises(HypervisorError, match="login of lab was refused") as caught:
        host.driver("mine", password="open sesame")
    assert "open sesame" not in str(caught.value)


def test_a_host_with_another_certificate_is_not_trusted(tls: Emulated, tmp_path: Path) -> None:
    make_certificate(tmp_path / "other.pem", tmp_path / "other.key", "other")
    for pinned in (False, True):
        with pytest.raises(HypervisorError, match="CERTIFICATE_VERIFY_FAILED"):
            tls.driver("mine", trust=Trust(tmp_path / "other.pem", pinned=pinned))


def test_a_pinned_certificate_is_trusted_under_any_name_and_a_ca_only_under_its_own(tls: Emulated) -> None:
    certificate = tls.target().trust.certificate
    # Another address of loopback, which the certificate does not carry: the socket is the server's own.
    with _forwarder(tls.target().port) as port:
        named = {"host": "127.0.0.2", "port": port}
        with pytest.raises(HypervisorError, match="IP address mismatch"):
            tls.driver("mine", **named)
        tls.driver("mine", **named, trust=Trust(certificate, pinned=True)).close()


@contextmanager
def _forwarder(target: int) -> Iterator[int]:
    """Listen on 127.0.0.2 and pass connections on."""

    class Forward(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", target), timeout=10) as there:
                back = threading.Thread(target=_pump, args=(there, self.request), daemon=True)
                back.start()
                _pump(self.request, there)
                back.join(10)

    with socketserver.ThreadingTCPServer(("127.0.0.2", 0), Forward) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


def test_files_are_not_fetched_from_an_untrusted_host(tls: Emulated, driver: EsxiHypervisor, tmp_path: Path) -> None:
    make_certificate(tmp_path / "other.pem", tmp_path / "other.key", "other")
    stranger = replace(tls.target(), trust=Trust(tmp_path / "other.pem"))
    with pytest.raises(HypervisorError, match="CERTIFICATE_VERIFY_FAILED"):
        HttpsTransfer(stranger, "ha-datacenter", "datastore1").read_whole("x")


def test_nobody_answers_at_a_closed_port(tls: Emulated) -> None:
    assert tls.server is not None
    target = tls.target()
    tls.server.close()
    with pytest.raises(HypervisorError, match="does not answer"):
        connect(target, "mine", tls.home)
    tls.server.close = lambda: None  # type: ignore[method-assign]  # it is closed already


def test_an_expired_session_is_renewed(host: Emulated, driver: EsxiHypervisor) -> None:
    driver.create_disk(SYSTEM, MIB)
    driver.define(spec("m1", SYSTEM))
    assert host.emulator.sessions.expire_all() == 1
    assert [machine.name for machine in driver.machines()] == ["m1"]
    host.emulator.sessions.expire_all()
    driver.power_on("m1")
    assert driver.power("m1") is PowerState.ON


def test_a_session_that_cannot_be_renewed_is_an_error(host: Emulated, driver: EsxiHypervisor) -> None:
    host.emulator.faults.next("Login", Fail(vim.fault.InvalidLogin(msg="the account was locked")))
    host.emulator.sessions.expire_all()
    with pytest.raises(HypervisorError, match="the account was locked"):
        driver.machines()


def test_a_wait_goes_on_when_its_session_expires(host: Emulated, driver: EsxiHypervisor) -> None:
    driver.define(spec("m1"))
    host.emulator.faults.next("PowerOnVM_Task", Delay(0.0))
    host.emulator.faults.next("WaitForUpdatesEx", Fail(vim.fault.NotAuthenticated(privilegeId="x")))
    driver.power_on("m1")
    assert driver.power("m1") is PowerState.ON


CHANGES: list[tuple[str, Callable[[EsxiHypervisor], object]]] = [
    ("define", lambda driver: driver.define(spec("m1"))),
    ("create_disk", lambda driver: driver.create_disk(SYSTEM, MIB)),
    ("power_on", lambda driver: driver.power_on("old")),
    ("attach_disk", lambda driver: driver.attach_disk("old", DiskAttachment(DiskId("spare"), "x"))),
    ("delete_disk", lambda driver: driver.delete_disk(DiskId("spare"))),
    ("undefine", lambda driver: driver.undefine("old")),
    ("clone_disk", lambda driver: driver.clone_disk(DiskId("spare"), SYSTEM)),
    ("snapshot", lambda driver: driver.snapshots.create_snapshot("old", "s")),
    ("network", lambda driver: driver.port_groups.ensure_network("primary")),
]


@pytest.mark.parametrize("known", [True, False], ids=["found at connect", "found by the fault"])
def test_a_free_licence_is_named_for_every_change_and_reading_goes_on(
    tmp_path: Path, stack: ExitStack, *, known: bool
) -> None:
    host = emulated(MEMORY, tmp_path / "host", stack)
    full = host.driver("mine")
    full.define(spec("old"))
    full.create_disk(DiskId("spare"), MIB)
    object.__setattr__(host.emulator.settings, "licence", Licence.FREE)
    if known:
        manager = host.emulator.registry.find(vim.LicenseManager("ha-license-manager"))
        manager.licenses[0].editionKey = "esxBasic"  # type: ignore[attr-defined]
    driver = host.driver("mine")
    assert driver.site.host.free_licence is known
    for name, change in CHANGES:
        with pytest.raises(FreeLicence, match="free ESXi licence"):
            change(driver)
        assert name
    assert [machine.name for machine in driver.machines()] == ["old"]
    assert [disk.id.name for disk in driver.disks()] == ["spare"]
    assert host.emulator.site.networks.keys().isdisjoint({"mine.primary"})


def test_an_emulated_free_host_says_so(tmp_path: Path, stack: ExitStack) -> None:
    host = emulated(MEMORY, tmp_path / "host", stack, licence=Licence.FREE)
    assert host.driver("mine").site.host.free_licence


def test_the_password_is_in_no_text_about_the_target(tls: Emulated) -> None:
    assert ACCOUNT.password not in repr(tls.target())
    assert ACCOUNT.password not in repr(ACCOUNT)
