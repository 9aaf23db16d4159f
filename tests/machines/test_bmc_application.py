"""What the emulated BMC lets through to an application that would do everything it is asked."""

import pytest
from werkzeug.test import Client
from werkzeug.wrappers import Request, Response

from lab.emulators.bmc.accounts import Accounts
from lab.emulators.bmc.application import CALLS, ROOT, BmcApplication

MINE = "11111111-1111-4111-8111-111111111111"
FOREIGN = "22222222-2222-4222-8222-222222222222"
BODIES = {"POST": {"Image": "http://127.0.0.1/m.iso", "ResetType": "On"}, "PATCH": {}}


@pytest.fixture
def asked() -> list[str]:
    """The paths that went through."""
    return []


@pytest.fixture
def client(asked: list[str]) -> Client:
    @Request.application
    def willing(request: Request) -> Response:
        asked.append(request.path)
        return Response("{}", content_type="application/json")

    return Client(BmcApplication(willing, Accounts("admin", "secret"), frozenset({MINE})))


@pytest.mark.parametrize(("method", "rest"), CALLS)
def test_nothing_of_another_machine_is_let_through(client: Client, asked: list[str], method: str, rest: str) -> None:
    auth = ("admin", "secret")
    answer = client.open(f"{ROOT}/Systems/{FOREIGN}{rest}", method=method, auth=auth, json=BODIES.get(method))
    assert answer.status_code == 404
    assert asked == []


@pytest.mark.parametrize("rest", [rest for method, rest in CALLS if method == "GET"])
def test_what_is_behind_it_is_let_through(client: Client, asked: list[str], rest: str) -> None:
    """The control: the same call of its own machine arrives."""
    assert client.get(f"{ROOT}/Systems/{MINE}{rest}", auth=("admin", "secret")).status_code == 200
    assert f"{ROOT}/Systems/{MINE}{rest}" in asked
