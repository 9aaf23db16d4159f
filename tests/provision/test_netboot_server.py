"""An identity is given away once, over TLS, to the machine that it is for; files are read by who knows their names."""

import base64
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from lab.emulators.common.certificate import make_certificate
from lab.emulators.common.wsgi import WsgiFront
from lab.images.medium import SCRIPT
from lab.provision.media import FilesApplication
from lab.provision.netboot_server import IdentityApplication, ServerFolder, told

BUSYBOX = shutil.which("busybox")
ONCE = "abcdefghijklmnop_-123"
TEXT = "aWRlbnRpdHk=\n"


@pytest.fixture
def folder(tmp_path: Path) -> ServerFolder:
    made = ServerFolder(tmp_path / "netboot")
    made.make()
    return made


@pytest.fixture
def client(folder: ServerFolder) -> Iterator[httpx.Client]:
    put(folder)
    front = WsgiFront(told(IdentityApplication(folder)), folder.path, "netboot").start()
    trusted = ssl.create_default_context(cafile=folder.certificate)
    with httpx.Client(base_url=front.url, verify=trusted, trust_env=False) as client:
        yield client
    front.close()


def put(folder: ServerFolder, address: str = "127.0.0.1") -> Path:
    path = folder.identity(address, ONCE)
    path.parent.mkdir(exist_ok=True)
    path.write_text(TEXT)
    return path


def ask(client: httpx.Client, once: str = ONCE) -> httpx.Response:
    return client.get("/identity", headers={"Authorization": f"Bearer {once}"})


def test_an_identity_is_given_once_and_then_gone(client: httpx.Client, folder: ServerFolder) -> None:
    assert ask(client).text == TEXT
    assert ask(client).status_code == 410, "whoever comes second knows that somebody else has it"
    assert not any(TEXT.encode() in path.read_bytes() for path in folder.path.rglob("*") if path.is_file())


def test_one_of_many_who_come_at_once_gets_it(client: httpx.Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        codes = sorted(answer.status_code for answer in pool.map(lambda _: ask(client), range(8)))
    assert codes == [200] + [410] * 7


@pytest.mark.parametrize("once", ["abc", "x" * 21, "../127.0.0.1/" + ONCE, ONCE + ".taken", "%2e%2e/" + ONCE])
def test_another_word_gets_nothing_and_takes_nothing(client: httpx.Client, once: str) -> None:
    assert ask(client, once).status_code == 401
    assert ask(client).text == TEXT


def test_another_machine_gets_nothing(client: httpx.Client, folder: ServerFolder) -> None:
    folder.identity("127.0.0.1", ONCE).unlink()
    put(folder, "10.40.0.12")
    assert ask(client).status_code == 401


def fetch(folder: ServerFolder, port: int, trusted: Path, once: str = ONCE) -> str:
    """Fetch an identity as the installer does, by its own words in its own shell, and return what it said."""
    place = folder.path / "lab-install"
    (place / "medium").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(trusted, place / "trusted.pem")
    script = place / "script"
    script.write_text(
        SCRIPT.read_text().replace("/lab-install/", f"{place}/").replace("=/lab-install", f"={place}")
        + f"install_refuse() {{ echo refused: $*; exit 1; }}\nIDENTITY_AT=127.0.0.1:{port} ONCE={once}\n"
        "install_fetch_identity\n"
    )
    command = [str(BUSYBOX), "sh", str(script)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()


@pytest.mark.skipif(BUSYBOX is None, reason="busybox is not installed: make bootstrap")
def test_the_installer_gets_it_once_and_from_this_server_alone(client: httpx.Client, folder: ServerFolder) -> None:
    port, other = client.base_url.port or 0, folder.path / "other.pem"
    make_certificate(other, folder.path / "other.key", "netboot")
    assert "refused: the identity is not given: " in (said := fetch(folder, port, other))
    assert "certificate" in said
    assert fetch(folder, port, folder.certificate, "x" * 21) == "refused: the identity is not given: 401 UNAUTHORIZED"
    assert fetch(folder, port, folder.certificate) == ""
    assert (folder.path / "lab-install/medium/identity.tar").read_bytes() == base64.b64decode(TEXT)
    assert fetch(folder, port, folder.certificate) == "refused: the identity is not given: 410 GONE"


@pytest.mark.parametrize(("method", "path"), [("POST", "/identity"), ("GET", "/"), ("GET", "/identity/x")])
def test_nothing_else_is_there(client: httpx.Client, method: str, path: str) -> None:
    given = {"Authorization": f"Bearer {ONCE}"}
    assert client.request(method, path, headers=given).status_code == 404
    assert ask(client).text == TEXT


def test_an_identity_is_not_given_without_tls(client: httpx.Client) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://{client.base_url.netloc.decode()}/identity", trust_env=False, timeout=5)
    assert ask(client).text == TEXT


def test_files_are_served_without_tls_and_told_without_their_folder(
    folder: ServerFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.files / "secret").mkdir()
    (folder.files / "secret" / "boot.ipxe").write_text("#!ipxe\n")
    front = WsgiFront(told(FilesApplication(folder.files)), folder.path, "netboot", tls=False).start()
    with httpx.Client(base_url=front.url, trust_env=False) as client:
        assert client.get("/secret/boot.ipxe").text == "#!ipxe\n"
        assert client.get("/secret/other").status_code == 404
    front.close()
    assert capsys.readouterr().out == "127.0.0.1 GET 'boot.ipxe': 200 OK\n127.0.0.1 GET 'other': 404 NOT FOUND\n"


def test_a_server_that_cannot_have_its_address_ends_with_the_reason(folder: ServerFolder) -> None:
    command = [sys.executable, "-m", "lab.provision.netboot_server", "192.0.2.1", str(folder.path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "192.0.2.1" in done.stderr
