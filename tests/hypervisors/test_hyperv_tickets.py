"""The Hyper-V driver logs in by Kerberos: pywinrm and pykerberos against the emulator, with a real KDC on loopback."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from hyperv_backends import TLS, USER, Emulated, emulated
from realm import Kdc, realm, realm_refusal

from lab.hypervisors.hyperv.settings import Login
from lab.hypervisors.protocols import HypervisorError

LAB = "contract-a"
REFUSAL = realm_refusal() or (
    None if importlib.util.find_spec("kerberos") else "the Python package pykerberos is not installed"
)
pytestmark = pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL))


@pytest.fixture(scope="module")
def kdc() -> Iterator[Kdc]:
    with realm() as made:
        made.add("HTTP/127.0.0.1", USER, "somebody")
        yield made


@pytest.fixture
def served(kdc: Kdc, tmp_path: Path) -> Iterator[Emulated]:
    with ExitStack() as stack:
        yield emulated(TLS, tmp_path / "host", stack, keytab=kdc.keytab("HTTP/127.0.0.1"))


@pytest.fixture
def holding(kdc: Kdc, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have tickets of a principal in this process."""

    def hold(principal: str) -> None:
        (kdc.folder / "ccache").unlink(missing_ok=True)
        monkeypatch.setenv("KRB5_CLIENT_KTNAME", str(kdc.keytab(principal)))

    return hold


def test_the_driver_works_with_a_ticket(served: Emulated, holding: Callable[[str], None]) -> None:
    holding(USER)
    driver = served.driver(LAB, login=Login.KERBEROS, password="not asked for")
    assert list(driver.machines()) == []
    driver.close()


def test_a_ticket_that_is_bound_to_no_connection_is_refused(
    served: Emulated, holding: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    holding(USER)
    monkeypatch.setattr(
        "winrm.vendor.requests_kerberos.kerberos_._get_channel_bindings_application_data", lambda _: None
    )
    with pytest.raises(HypervisorError, match="refuses the login"):
        served.driver(LAB, login=Login.KERBEROS).close()


def test_a_ticket_of_somebody_who_has_no_account_is_refused(served: Emulated, holding: Callable[[str], None]) -> None:
    holding("somebody")
    with pytest.raises(HypervisorError, match="refuses the login"):
        served.driver(LAB, login=Login.KERBEROS, user="somebody").close()


def test_without_a_ticket_there_is_no_login(served: Emulated, kdc: Kdc, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KRB5_CLIENT_KTNAME", str(kdc.folder / "nothing"))
    (kdc.folder / "ccache").unlink(missing_ok=True)
    with pytest.raises(HypervisorError, match=r"[Cc]redentials|keytab|ticket"):
        served.driver(LAB, login=Login.KERBEROS).close()


def test_the_other_logins_are_as_before(served: Emulated) -> None:
    for login in (Login.NTLM, Login.BASIC):
        served.driver(LAB, login=login).close()
