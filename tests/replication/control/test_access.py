from __future__ import annotations

import logging
import ssl
import stat

import httpx
import pytest
from control_stand_ins import PASSPHRASE, StandIn, fabric_identity
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from lab.replication.configuration_server.ca import Holder, new_authority, save_authority
from lab.replication.configuration_server.ca import key_pem as pem_of
from lab.replication.configuration_server.initialise import initialise


def request_for(key, name: str = "mobility-app1") -> str:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    sans = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("urn:recovery:operator:mallory")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).add_extension(sans, critical=False)
    return csr.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def registration(**changes):
    key = ec.generate_private_key(ec.SECP256R1())
    good = {
        "passphrase": PASSPHRASE,
        "kind": "mobility",
        "name": "app1",
        "addresses": ["10.10.0.11"],
        "csr": request_for(key),
    }
    return {**good, **changes}


def call(world, method, path, *, identity=None, body=None, port=None):
    """Call with the certificate of ``identity`` = (certificate, key), or without one."""
    context = ssl.create_default_context(cafile=str(world.config.ca_dir / "ca.pem"))
    if identity is not None:
        context.load_cert_chain(*identity)
    url = f"https://127.0.0.1:{port or world.server.port}{path}"
    with httpx.Client(verify=context, trust_env=False, timeout=20) as client:
        return client.request(method, url, json=body)


def component_identity(stand_in: StandIn):
    return stand_in.identity / "machine.pem", stand_in.identity / "machine.key"


def operator_identity(world):
    return world.config.issued_dir / "operator.pem", world.config.issued_dir / "operator.key"


def foreign_identity(folder, kind, name):
    authority = new_authority("foreign")
    key = ec.generate_private_key(ec.SECP256R1())
    issued = authority.issue(key.public_key(), Holder(kind, name))
    folder.mkdir(exist_ok=True)
    (folder / "machine.pem").write_bytes(issued.pem)
    (folder / "machine.key").write_bytes(pem_of(key))
    save_authority(authority, folder)
    return folder / "machine.pem", folder / "machine.key"


def test_who_registers_gets_the_names_of_the_contract_and_none_of_its_own(world):
    answer = call(world, "POST", "/v1/register", body=registration()).json()
    assert answer["component_id"] == "mobility-app1"
    certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == ["urn:recovery:mobility:app1"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["10.10.0.11"]
    assert names.get_values_for_type(x509.DNSName) == []


def test_servers_have_a_dns_name_too(world):
    body = registration(kind="master-target", name="mt1")
    answer = call(world, "POST", "/v1/register", body=body).json()
    certificate = x509.load_pem_x509_certificate(answer["certificate"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["master-target.mt1.recovery"]


def test_a_wrong_passphrase_is_refused_and_not_logged(world, caplog):
    with caplog.at_level(logging.DEBUG):
        answer = call(world, "POST", "/v1/register", body=registration(passphrase="hunter2"))
    assert (answer.status_code, answer.json()["error"]["type"]) == (403, "forbidden")
    assert "hunter2" not in caplog.text
    assert PASSPHRASE not in caplog.text
    assert world.stack.components() == []


@pytest.mark.parametrize("kind", ["operator", "fabric", "configuration-server"])
def test_nobody_registers_as_something_powerful(world, kind):
    assert call(world, "POST", "/v1/register", body=registration(kind=kind)).status_code == 400


def test_other_kinds_of_keys_and_broken_requests_are_refused(world):
    other = request_for(rsa.generate_private_key(public_exponent=65537, key_size=2048))
    for csr in (other, "not a request"):
        assert call(world, "POST", "/v1/register", body=registration(csr=csr)).status_code == 400


OPERATOR_CALLS = [("GET", "/v1/machines"), ("GET", "/v1/events?after=0"), ("PUT", "/v1/policies/p")]
COMPONENT_CALLS = [("GET", "/v1/commands?wait=0"), ("POST", "/v1/events"), ("POST", "/v1/commands/x/result")]


@pytest.mark.parametrize(("method", "path"), OPERATOR_CALLS + COMPONENT_CALLS)
def test_every_other_call_needs_a_certificate(world, method, path):
    answer = call(world, method, path, body={})
    assert answer.status_code == 403
    assert "certificate" in answer.json()["error"]["message"]


def test_the_kind_decides_which_calls(world):
    component = component_identity(world.add("mobility", "app1"))
    for method, path in OPERATOR_CALLS:
        assert call(world, method, path, identity=component, body={}).status_code == 403
    for method, path in COMPONENT_CALLS:
        assert call(world, method, path, identity=operator_identity(world), body={}).status_code == 403
    assert call(world, "GET", "/v1/machines", identity=operator_identity(world)).status_code == 200


def test_certificates_of_a_foreign_authority_end_the_connection(world, tmp_path):
    foreign = foreign_identity(tmp_path / "foreign", "operator", "qa")
    with pytest.raises(httpx.TransportError):
        call(world, "GET", "/v1/machines", identity=foreign)


def test_a_component_reports_only_about_its_own_streams(world):
    world.protected()
    other = component_identity(world.add("master-target", "mt2"))
    data = {"recovery_point": "x", "sequence": 9, "cut": {"begin_ns": 1, "end_ns": 2}}
    event = {"kind": "recovery-point", "machine": "app1", "stream": world.stream(), "data": data}
    assert call(world, "POST", "/v1/events", identity=other, body=event).status_code == 403
    agent = component_identity(world.agent)
    assert call(world, "POST", "/v1/events", identity=agent, body=event).status_code == 403
    assert len(world.stack.recovery_points("app1")) == 1


def test_a_fabric_serves_the_configuration_server_only(world, tmp_path):
    port = world.fabrics["recovery"].port
    own = (world.config.identity_dir / "machine.pem", world.config.identity_dir / "machine.key")
    assert call(world, "GET", "/v1/machines/mt1", identity=own, port=port).status_code == 200
    assert call(world, "GET", "/v1/machines/mt1", identity=operator_identity(world), port=port).status_code == 403
    for identity in (None, foreign_identity(tmp_path / "foreign", "configuration-server", "cs1")):
        with pytest.raises(httpx.TransportError):
            call(world, "GET", "/v1/machines/mt1", identity=identity, port=port)


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("DELETE", "/v1/machines/mt1", None, 403),
        ("POST", "/v1/machines/mt1/power", {"action": "off"}, 403),
        ("POST", "/v1/machines/app1/power", {"action": "explode"}, 400),
        ("GET", "/v1/machines/somebody-else", None, 403),
        ("DELETE", "/v1/disks/app1-system", None, 403),
        ("POST", "/v1/disks", {"name": "app1-system", "size": 1048576}, 403),
        ("POST", "/v1/disks", {"name": "../etc/x-replica", "size": 1048576}, 400),
        ("POST", "/v1/disks", {"name": "a-replica", "size": 1 << 60}, 400),
        ("POST", "/v1/disks", {"name": "a-replica", "size": 1000}, 400),
        ("POST", "/v1/disks/a-replica/attach", {"machine": "victim"}, 403),
        ("POST", "/v1/disks/a-replica/attach", {"machine": "mt1"}, 404),
        ("POST", "/v1/machines", {"name": "a-replica", "cpus": 1, "memory_mib": 64, "disks": [], "nics": []}, 400),
    ],
)
def test_a_fabric_gives_away_no_more_than_replication_needs(world, method, path, body, status):
    own = (world.config.identity_dir / "machine.pem", world.config.identity_dir / "machine.key")
    site = "primary" if "app1" in path else "recovery"
    answer = call(world, method, path, identity=own, body=body, port=world.fabrics[site].port)
    assert answer.status_code == status, answer.text


def test_initialisation_makes_everything_once_and_keeps_it_private(world):
    issued = world.config.issued_dir
    names = {"ca.pem", "operator.pem", "operator.key", "console.pem", "console.key"}
    names |= {f"fabric-{site}.{end}" for site in ("primary", "recovery") for end in ("pem", "key")}
    assert {path.name for path in issued.iterdir()} == names
    before = {path: path.read_bytes() for path in issued.iterdir()}
    assert initialise(world.config) == []
    assert before == {path: path.read_bytes() for path in issued.iterdir()}
    for folder in (issued, world.config.ca_dir, world.config.identity_dir):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in folder.glob("*.key"))
    assert fabric_identity(issued, world.folder, "primary").is_dir()
