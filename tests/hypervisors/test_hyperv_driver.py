"""The Hyper-V driver's own: trust, logins, broken connections, deadlines, secrets, checkpoints."""

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hyperv_backends import MEMORY, PASSWORD, TLS, Emulated, emulated
from test_hyperv_script import broken

from lab.emulators.common.certificate import make_certificate
from lab.emulators.common.faults import Delay, Drop, Fail
from lab.emulators.hyperv.powershell.values import PowerShellError
from lab.emulators.hyperv.wsman.envelope import NO_SHELL, Fault
from lab.hypervisors.hyperv import HypervHypervisor, Login, Trust, connect
from lab.hypervisors.hyperv import session as session_module
from lab.hypervisors.hyperv.naming import Names, Tag, base_disk, tag_of
from lab.hypervisors.hyperv.script import render
from lab.hypervisors.hyperv.session import Lost, _rows
from lab.hypervisors.model import DiskAttachment, DiskId, Endpoint, MachineSpec, Management, Nic, PowerState
from lab.hypervisors.protocols import Conflict, HypervisorError, NotFound
from lab.waiting import Deadline, DeadlineExceeded

MIB = 1 << 20
LAB = "mine"
SYSTEM = DiskId("m1-system")
COMMANDS = "Microsoft.HyperV.PowerShell.Commands."


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Emulated]:
    with ExitStack() as stack:
        yield emulated(MEMORY, tmp_path / "host", stack, LAB)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Emulated]:
    with ExitStack() as stack:
        yield emulated(TLS, tmp_path / "host", stack, LAB)


def defined(driver: HypervHypervisor, *, management: bool = True, seed: str | None = None) -> None:
    driver.create_disk(SYSTEM, 8 * MIB)
    card = Management("52:54:00:00:00:01") if management else None
    nic = Nic("primary", "52:54:00:00:00:02")
    driver.define(MachineSpec("m1", 1, 64, (DiskAttachment(SYSTEM, "system"),), (nic,), card, seed))


@pytest.mark.parametrize("login", [Login.NTLM, Login.BASIC])
def test_a_login_works_over_tls(served: Emulated, login: Login) -> None:
    driver = served.driver(LAB, login=login)
    assert list(driver.machines()) == []
    driver.close()


@pytest.mark.parametrize("login", [Login.NTLM, Login.BASIC])
def test_a_wrong_password_is_refused_and_said_nowhere(
    served: Emulated, login: Login, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(HypervisorError, match="refuses the login") as refused:
        served.driver(LAB, login=login, password="another secret")
    served.driver(LAB, login=login).close()
    said = str(refused.value) + repr(served.target()) + caplog.text
    assert "another secret" not in said
    assert PASSWORD not in said


def test_kerberos_needs_a_library_of_its_own(served: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("winrm.transport.HAVE_KERBEROS", False)
    with pytest.raises(HypervisorError, match="kerberos"):
        served.driver(LAB, login=Login.KERBEROS)


def test_a_host_that_is_not_trusted_is_refused(served: Emulated, tmp_path: Path) -> None:
    make_certificate(tmp_path / "other.pem", tmp_path / "other.key", "other")
    for trust in (Trust(tmp_path / "other.pem"), Trust(tmp_path / "other.pem", pinned=True)):
        with pytest.raises(HypervisorError, match="CERTIFICATE_VERIFY_FAILED"):
            served.driver(LAB, trust=trust)
    with pytest.raises(HypervisorError, match=r"nowhere\.pem"):
        served.driver(LAB, trust=Trust(tmp_path / "nowhere.pem"))


def test_a_pinned_certificate_is_trusted_under_any_name(served: Emulated) -> None:
    assert served.server is not None
    certificate = served.server.certificate
    with pytest.raises(HypervisorError):
        served.driver(LAB, host="127.0.0.2", trust=Trust(certificate)).close()
    # 127.0.0.2 is no address of the certificate, and nobody listens there: the same port of 127.0.0.1 does.
    served.driver(LAB, trust=Trust(certificate, pinned=True)).close()


def test_a_host_that_does_not_answer_is_said(served: Emulated) -> None:
    with pytest.raises(HypervisorError, match="does not answer"):
        served.driver(LAB, port=1)


@pytest.mark.parametrize("operation", ["Create", "Command", "Receive"])
def test_a_read_is_repeated_when_the_connection_breaks(served: Emulated, operation: str) -> None:
    driver = served.driver(LAB)
    if operation == "Create":
        driver.close()
    served.emulator.faults.next(operation, Drop())
    assert list(driver.machines()) == []
    served.emulator.faults.next(operation, Drop(), Drop())
    driver.close()
    with pytest.raises(Lost, match="does not answer"):
        driver.machines()


def test_a_change_is_not_repeated(host: Emulated) -> None:
    driver = host.driver(LAB)
    defined(driver)
    begun: list[str] = []
    run = driver.site.session.run

    def recording(what: str, *rest: Any) -> Any:
        begun.append(what)
        return run(what, *rest)

    object.__setattr__(driver.site.session, "run", recording)
    host.emulator.faults.next("Get-VM", Delay(0))
    host.emulator.faults.next("Start-VM", Delay(0))
    driver.power_on("m1")
    assert begun.count("start of m1") == 1
    host.emulator.faults.next("Stop-VM", Fail(PowerShellError("no", f"OperationFailed,{COMMANDS}StopVM")))
    with pytest.raises(HypervisorError, match=r"no \(OperationFailed"):
        driver.power_off("m1")
    assert begun.count("power cut of m1") == 1
    assert driver.power("m1") is PowerState.ON


def test_a_change_whose_answer_is_lost_is_said_to_be_unknown(host: Emulated) -> None:
    driver = host.driver(LAB)
    defined(driver)
    found = driver.site.find("m1")
    from lab.hypervisors.hyperv.script import Cmdlet

    host.emulator.faults.next("Command", Drop(after=True))
    with pytest.raises(Lost, match="start of m1"):
        driver.site.change("start of m1", Cmdlet("Start-VM", {"Name": found.full_name}))


def test_a_shell_that_the_host_has_forgotten_is_opened_anew(host: Emulated) -> None:
    driver = host.driver(LAB)
    defined(driver)
    host.emulator.service.shells.close()
    driver.power_on("m1")
    assert driver.power("m1") is PowerState.ON
    host.emulator.faults.next("Command", Fail(Fault(NO_SHELL, "gone")), Fail(Fault(NO_SHELL, "gone")))
    with pytest.raises(Lost, match="forgotten the shell"):
        driver.site.session.run("x", {})


def test_what_takes_too_long_is_cancelled_on_the_host(host: Emulated) -> None:
    driver = host.driver(LAB)
    defined(driver)
    driver.power_on("m1")
    host.emulator.faults.next("Stop-VM", Delay(60))
    begin = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="no shutdown of m1 within 1 s"):
        driver.shut_down("m1", Deadline.after(1))
    assert time.monotonic() - begin < 50


def test_shells_are_kept_and_closed(host: Emulated) -> None:
    driver = host.driver(LAB)
    for _ in range(5):
        driver.machines()
    shells = host.emulator.service.shells._shells
    assert len(shells) == 1
    assert all(not shell.commands for shell in shells.values()), "every command is taken off the host"
    driver.close()
    assert not shells


def test_machines_of_a_lab_are_those_with_its_tag(host: Emulated) -> None:
    driver = host.driver(LAB)
    defined(driver)
    stranger = "New-VM -Name 'mine.stranger' -NoVHD | Set-VM -Notes 'about {this}'"
    from lab.emulators.hyperv.cmdlets.registry import Registry
    from lab.emulators.hyperv.emulator import families
    from lab.emulators.hyperv.powershell.interpreter import run

    run(stranger, Registry(host.emulator.host, families(), host.emulator.faults, _event()))
    assert [machine.name for machine in driver.machines()] == ["m1"]


def _event() -> Any:
    import threading

    return threading.Event()


def test_the_address_of_a_guest_comes_from_the_host(host: Emulated) -> None:
    """As on a real host, where nothing publishes a port in the notes."""
    driver = host.driver(LAB)
    defined(driver)
    host.emulator.host.notes = lambda machine: machine.notes  # type: ignore[method-assign]
    driver.power_on("m1")
    with pytest.raises(HypervisorError, match="no address"):
        driver.endpoint("m1")
    host.emulator.host.told.addresses["mine.m1"] = ("fe80::1", "10.1.2.3")
    assert driver.endpoint("m1") == Endpoint("10.1.2.3", 22)


def test_a_seed_is_put_beside_the_machine_and_removed_with_it(host: Emulated, tmp_path: Path) -> None:
    driver = host.driver(LAB)
    (tmp_path / "seed.iso").write_bytes(b"seed")
    defined(driver, seed=str(tmp_path / "seed.iso"))
    driver.power_on("m1")
    seed = host.emulator.host.backend.host.spec("m1").seed  # type: ignore[attr-defined]
    assert Path(seed).read_bytes() == b"seed"
    driver.power_off("m1")
    driver.undefine("m1")
    assert not Path(seed).exists()
    assert list(host.emulator.host.files.exchange.iterdir()) == []


def test_a_machine_that_cannot_be_made_whole_is_taken_away(host: Emulated) -> None:
    driver = host.driver(LAB)
    driver.create_disk(SYSTEM, MIB)
    failing = PowerShellError("full", f"OperationFailed,{COMMANDS}AddVMNetworkAdapter")
    host.emulator.faults.next("Add-VMNetworkAdapter", Fail(failing))
    with pytest.raises(HypervisorError, match="full"):
        driver.define(MachineSpec("m1", 1, 64, (DiskAttachment(SYSTEM, "s"),), (Nic("n", "52:54:00:00:00:02"),), None))
    assert list(driver.machines()) == []
    assert driver.disk(SYSTEM).attached_to is None


def test_checkpoints(host: Emulated) -> None:
    driver = host.driver(LAB)
    defined(driver)
    driver.power_on("m1")
    first, second = (driver.checkpoints.create_snapshot("m1", name) for name in ("first", "second's"))
    assert list(driver.checkpoints.snapshots("m1")) == [first, second]
    driver.power_off("m1")
    with pytest.raises(Conflict, match="checkpoints"):
        driver.undefine("m1")
    driver.power_on("m1")
    driver.checkpoints.revert("m1", first)
    assert driver.power("m1") is PowerState.OFF
    assert driver.disk(SYSTEM).attached_to == "m1"
    for snapshot in (second, first):
        driver.checkpoints.remove_snapshot(snapshot)
        with pytest.raises(NotFound):
            driver.checkpoints.remove_snapshot(snapshot)
    with pytest.raises(NotFound):
        driver.checkpoints.revert("m1", first)
    driver.undefine("m1")


def test_a_running_disk_is_cloned_without_a_checkpoint_left(host: Emulated) -> None:
    driver = host.driver(LAB)
    defined(driver)
    driver.power_on("m1")
    driver.clone_disk(SYSTEM, DiskId("copy"))
    assert list(driver.checkpoints.snapshots("m1")) == []
    assert [disk.id.name for disk in driver.disks()] == ["copy", "m1-system"]


def test_networks_are_switches(host: Emulated) -> None:
    driver = host.driver(LAB)
    driver.switches.ensure_network("a")
    driver.switches.ensure_network("a")
    assert list(driver.switches.networks()) == ["a"]
    driver.switches.remove_network("a")
    with pytest.raises(NotFound):
        driver.switches.remove_network("a")


@pytest.mark.parametrize("name", ["", "a'b", "a b", "*", "../x", "a" * 80, "x_01234567-89ab-cdef-0123-456789abcdef"])
def test_names_that_cannot_be_a_disks_are_refused(host: Emulated, name: str) -> None:
    with pytest.raises(HypervisorError, match="is no name for a disk"):
        host.driver(LAB).create_disk(DiskId(name), MIB)


def test_names_and_tags_are_read_back() -> None:
    names, layer = Names("a"), "x_01234567-89ab-cdef-0123-456789abcdef"
    assert names.disk_of(names.disk(DiskId("x-1"))) == DiskId("x-1")
    assert names.disk_of(f"{names.disks}\\{layer}.avhdx") == DiskId("x")
    assert names.disk_of("C:\\other\\x.vhdx") is names.disk_of(f"{names.disks}\\x.iso") is None
    assert base_disk("x_1") == "x_1"
    tag = Tag("a", "m", {"d": "it's"})
    assert tag_of(tag.notes()) == tag
    for notes in ("", "null", "[]", '{"recovery-lab": 1}', '{"recovery-lab": {"lab": "a"}}'):
        assert tag_of(notes) is None


def test_answers_are_judged_by_their_ids() -> None:
    record = '{"error":{"message":"nicht gefunden","id":"%s"}}'
    for identity, kind in (
        (f"InvalidParameter,{COMMANDS}GetVM", NotFound),
        (f"InvalidState,{COMMANDS}StartVM", Conflict),
        ("SomethingElse,X", HypervisorError),
    ):
        with pytest.raises(kind, match="nicht gefunden") as raised:
            _rows("x", record % identity, "", 1)
        assert type(raised.value) is kind
    assert _rows("x", '\ufeff{"a":{"value":[1],"Count":1},"b":[]}', "", 0) == {"a": [1], "b": []}
    with pytest.raises(HypervisorError, match=r"did not answer in JSON \(exit code 1\): oh"):
        _rows("x", "no json", "oh", 1)
    with pytest.raises(HypervisorError, match="EMULATOR"):
        _rows("x", "", "EMULATOR: unsupported", 97)


def test_every_script_of_a_life_is_understood_by_an_independent_grammar(
    host: Emulated, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    scripts: list[str] = []

    def recording(queries: Any) -> str:
        scripts.append(render(queries))
        return scripts[-1]

    monkeypatch.setattr(session_module, "render", recording)
    driver = host.driver(LAB)
    (tmp_path / "seed.iso").write_bytes(b"seed")
    (tmp_path / "image.raw").write_bytes(bytes(MIB))
    defined(driver, seed=str(tmp_path / "seed.iso"))
    driver.import_disk(DiskId("data"), tmp_path / "image.raw", 2 * MIB)
    driver.attach_disk("m1", DiskAttachment(DiskId("data"), "it's data"))
    driver.power_on("m1")
    driver.clone_disk(DiskId("data"), DiskId("copy"))
    driver.grow_disk(DiskId("data"), 3 * MIB)
    driver.console_log("m1")
    driver.checkpoints.revert("m1", driver.checkpoints.create_snapshot("m1", "a"))
    driver.detach_disk("m1", DiskId("data"), Deadline.after(10))
    driver.remove_all()
    assert len(set(scripts)) > 25
    assert {script: found for script in set(scripts) if (found := broken(script))} == {}


def test_connect_says_what_is_wrong_with_the_certificate_file(served: Emulated, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    target = served.target()
    from dataclasses import replace

    with pytest.raises(HypervisorError, match=r"empty\.pem"):
        connect(replace(target, trust=Trust(tmp_path / "empty.pem")), LAB, tmp_path)
