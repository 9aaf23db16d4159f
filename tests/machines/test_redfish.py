"""What goes wrong between the driver and a BMC: every fault ends in a clear error, with nothing half done."""

import threading
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from bmc_backends import Emulated

from lab.emulators.bmc.accounts import MOST_SESSIONS
from lab.emulators.bmc.faults import Broken, Busy, Ignored, Stale
from lab.emulators.common.certificate import make_certificate
from lab.emulators.common.faults import Drop, Fail, Faults
from lab.errors import BadInput
from lab.hypervisors.model import PowerState
from lab.hypervisors.trust import Trust
from lab.machines.power import BmcError, BootSource, LoginRefused, MediaRefused, OutcomeUnknown
from lab.machines.redfish import RedfishBmc, connect
from lab.machines.redfish_session import _local
from lab.waiting import Deadline, DeadlineExceeded

pytestmark = [pytest.mark.qemu, pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture
def bmc(emulated_bmc: Emulated) -> Iterator[RedfishBmc]:
    found = connect(emulated_bmc.target())
    yield found
    found.power_off(soon())
    found.boot_normally()
    found.eject()
    found.close()
    assert emulated_bmc.serving.application.accounts.sessions == 0


@pytest.fixture
def faults(emulated_bmc: Emulated) -> Faults:
    return emulated_bmc.serving.application.faults


def soon() -> Deadline:
    return Deadline.after(60)


def test_a_wrong_password_is_refused_and_not_repeated(emulated_bmc: Emulated) -> None:
    with pytest.raises(LoginRefused, match="does not accept the password of admin") as refused:
        connect(emulated_bmc.target(password="wrong-and-secret"))
    assert "wrong-and-secret" not in str(refused.value)
    assert "wrong-and-secret" not in repr(emulated_bmc.target(password="wrong-and-secret"))


def test_several_systems_and_none_named_is_refused_and_logged_out(emulated_bmc: Emulated) -> None:
    with pytest.raises(BadInput, match="has 2 systems; name one of them") as refused:
        connect(emulated_bmc.target(system=None))
    assert all(system in str(refused.value) for system in emulated_bmc.serving.systems.values())
    assert emulated_bmc.serving.application.accounts.sessions == 0


def test_an_unknown_system_is_answered_with_the_nearest(emulated_bmc: Emulated) -> None:
    right = emulated_bmc.serving.systems["m1"]
    with pytest.raises(BadInput, match=f"did you mean '{right}'"):
        connect(emulated_bmc.target(system=right[:-1] + "x"))


def test_a_foreign_certificate_is_refused(emulated_bmc: Emulated, tmp_path) -> None:
    make_certificate(tmp_path / "other.pem", tmp_path / "other.key", "emulated-bmc.localdomain")
    for pinned in (False, True):
        with pytest.raises(BmcError, match="certificate verify failed"):
            connect(replace(emulated_bmc.target(), trust=Trust(tmp_path / "other.pem", pinned=pinned)))
    with pytest.raises(BmcError, match="is no certificate"):
        connect(replace(emulated_bmc.target(), trust=Trust(tmp_path / "missing.pem")))


def test_reads_are_repeated_while_the_service_is_busy_or_drops_them(bmc: RedfishBmc, faults: Faults) -> None:
    faults.next("System.Get", Fail(Busy()), Drop(), Fail(Busy()))
    assert bmc.state() is PowerState.OFF
    assert faults.take("System.Get") is None


@pytest.mark.parametrize("mishap", [Fail(Broken(after=True)), Drop(after=True)])
def test_a_change_that_was_made_though_the_answer_failed_is_seen(bmc: RedfishBmc, faults: Faults, mishap) -> None:
    faults.next("ComputerSystem.Reset", mishap)
    bmc.power_on(soon())
    assert bmc.state() is PowerState.ON


@pytest.mark.parametrize("mishap", [Fail(Broken(after=False)), Fail(Busy()), Drop(), Fail(Ignored())])
def test_a_power_that_never_comes_is_an_error_and_is_not_asked_for_twice(
    bmc: RedfishBmc, faults: Faults, mishap
) -> None:
    faults.next("ComputerSystem.Reset", mishap)
    with pytest.raises(DeadlineExceeded, match="the BMC still says 'off'"):
        bmc.power_on(Deadline.after(0.6))
    assert bmc.state() is PowerState.OFF


def test_a_stale_state_is_looked_at_again(bmc: RedfishBmc, faults: Faults) -> None:
    # The first two looks are before the change: at the state, and at what the system can do.
    faults.next("System.Get", Fail(Stale("Off")), Fail(Stale("Off")), Fail(Stale("Off")), Fail(Stale("PoweringOn")))
    bmc.power_on(soon())
    assert faults.take("System.Get") is None
    assert bmc.state() is PowerState.ON


def test_a_state_that_redfish_does_not_have_is_no_state(bmc: RedfishBmc, faults: Faults) -> None:
    faults.next("System.Get", Fail(Stale("Sleepy")))
    with pytest.raises(BmcError, match="power state 'Sleepy' is unknown"):
        bmc.state()


def test_a_reset_that_nobody_can_see_is_said_to_be_unknown(bmc: RedfishBmc, faults: Faults) -> None:
    bmc.power_on(soon())
    faults.next("ComputerSystem.Reset", Fail(Broken(after=False)))
    with pytest.raises(OutcomeUnknown, match="whether it was made is unknown"):
        bmc.reset(soon())


def test_media_that_cannot_be_fetched_are_refused(bmc: RedfishBmc, emulated_bmc: Emulated) -> None:
    with pytest.raises(MediaRefused, match=r"no-such\.iso cannot be inserted"):
        bmc.insert(emulated_bmc.medium.replace("cd.iso", "no-such.iso"))
    with pytest.raises(MediaRefused, match=r"from http\(s\)://127\.0\.0\.1 only"):
        bmc.insert("http://192.0.2.1/cd.iso")
    assert bmc.inserted() is None


def test_media_that_are_said_to_be_inserted_and_are_not(
    bmc: RedfishBmc, emulated_bmc: Emulated, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lab.machines.redfish.SETTLE_SECONDS", 0.5)
    faults.next("VirtualMedia.InsertMedia", Fail(Ignored()))
    with pytest.raises(MediaRefused, match="in the drive: nothing"):
        bmc.insert(emulated_bmc.medium)


def test_a_boot_choice_that_is_ignored_is_noticed(bmc: RedfishBmc, faults: Faults) -> None:
    faults.next("System.Patch", Fail(Ignored()))
    with pytest.raises(BmcError, match="the BMC says nothing of it"):
        bmc.boot_once(BootSource.DISK)


def test_a_session_that_the_bmc_forgot_is_made_again(bmc: RedfishBmc, emulated_bmc: Emulated) -> None:
    emulated_bmc.serving.application.accounts.forget_sessions()
    assert bmc.state() is PowerState.OFF


def test_who_never_logs_out_runs_out_of_sessions(emulated_bmc: Emulated) -> None:
    kept = [connect(emulated_bmc.target()) for _ in range(MOST_SESSIONS)]
    try:
        with pytest.raises(BmcError, match="limit of sessions"):
            connect(emulated_bmc.target())
    finally:
        for found in kept:
            found.close()
    assert emulated_bmc.serving.application.accounts.sessions == 0


@pytest.mark.parametrize("link", ["https://192.0.2.1/redfish", "//192.0.2.1/redfish", "redfish"])
def test_links_to_elsewhere_are_not_followed(link: str) -> None:
    with pytest.raises(BmcError, match="no path of its own"):
        _local(link)


def test_only_what_is_behind_the_bmc_is_let_through(emulated_bmc: Emulated) -> None:
    system = emulated_bmc.serving.systems["m1"]
    account = (emulated_bmc.target().user, emulated_bmc.target().password)
    verify = emulated_bmc.target().trust.context()
    foreign = "00000000-0000-4000-8000-000000000000"
    with httpx.Client(base_url=emulated_bmc.serving.url, verify=verify, timeout=30) as client:
        assert client.get("/redfish/v1").status_code == 200
        assert client.get(f"/redfish/v1/Systems/{system}").status_code == 401
        for path in ("", "/VirtualMedia", "/VirtualMedia/Cd"):
            assert client.get(f"/redfish/v1/Systems/{system}{path}", auth=account).status_code == 200
            assert client.get(f"/redfish/v1/Systems/{foreign}{path}", auth=account).status_code == 404
        for path in ("Managers", "Chassis", "UpdateService", f"Systems/{system}/BIOS", f"Systems/{system}/../Managers"):
            assert client.get(f"/redfish/v1/{path}", auth=account).status_code == 404
        insert = f"/redfish/v1/Systems/{foreign}/VirtualMedia/Cd/Actions/VirtualMedia.InsertMedia"
        assert client.post(insert, auth=account, json={"Image": emulated_bmc.medium}).status_code == 404
        patch = client.patch(f"/redfish/v1/Systems/{system}", auth=account, json={"Boot": {"x": 1}})
        assert patch.status_code == 400


def test_a_silent_client_does_not_block_the_others(emulated_bmc: Emulated, bmc: RedfishBmc) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", int(emulated_bmc.serving.url.rsplit(":", 1)[1]))):
        done = threading.Event()
        threading.Thread(target=lambda: (bmc.state(), done.set()), daemon=True).start()
        assert done.wait(8)
