from __future__ import annotations

import json
import os
import ssl
import stat
import subprocess
import sys
import tarfile

import pytest
from control_standin import PASSPHRASE
from stack import ROOT

from lab.replication import install, package
from lab.replication.common.config import BadConfig, ServiceConfig, load_config
from lab.replication.common.identity import RegistrationRefused, ensure_identity
from lab.replication.common.processor import tls_choice
from lab.replication.common.tls import Peer, UnknownPeer, client_context, peer_of
from lab.replication.mobility.networks import write_replica_networks


def config_file(tmp_path, control, passphrase=PASSPHRASE):
    (tmp_path / "ca.pem").write_bytes(control.authority.pem)
    (tmp_path / "passphrase").write_text(passphrase + "\n")
    value = {
        "kind": "process-server",
        "name": "ps1",
        "configuration_server": {"address": "127.0.0.1", "port": control.port},
        "identity_dir": str(tmp_path / "identity"),
        "state_dir": str(tmp_path / "state"),
        "addresses": ["127.0.0.1"],
    }
    path = tmp_path / "config.json"
    path.write_text(json.dumps(value))
    return path


def test_the_package_is_deterministic_and_holds_only_the_stack(tmp_path):
    assert package.build_package(tmp_path / "a") == package.build_package(tmp_path / "b")
    with tarfile.open(tmp_path / "a") as archive:
        names = archive.getnames()
    assert {"lab/__init__.py", "lab/waiting.py", "lab/replication/changeset.py"} <= set(names)
    assert all(name.startswith("lab/replication/") for name in names[2:])


def test_an_installation_registers_once_and_can_be_repeated(tmp_path, control):
    built = tmp_path / "package.tar.gz"
    digest = package.build_package(built)
    config = config_file(tmp_path, control)
    root = tmp_path / "root"
    arguments = ["--kind", "process-server", "--config", str(config), "--package", str(built)]
    arguments += ["--ca", str(tmp_path / "ca.pem"), "--passphrase-file", str(tmp_path / "passphrase")]
    for _ in range(2):
        with pytest.raises(SystemExit) as ended:
            install.main([*arguments, "--root", str(root), "--no-start"])
        assert not ended.value.code
    assert (root / "opt/recovery/current").resolve().name == digest
    assert (root / "opt/recovery/current/lab/replication/install.py").exists()
    assert stat.S_IMODE((root / "etc/recovery").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "identity").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "identity/machine.key").stat().st_mode) == 0o600
    unit = (root / "etc/systemd/system/recovery-process-server.service").read_text()
    assert "-m lab.replication.process_server --config /etc/recovery/process-server.json" in unit
    client_context(tmp_path / "identity")
    assert PASSPHRASE not in "".join(p.read_text() for p in root.rglob("*.json"))


def test_a_wrong_passphrase_is_refused_and_not_repeated_in_the_message(tmp_path, control):
    config = load_config(config_file(tmp_path, control, "guess"))
    with pytest.raises(RegistrationRefused) as refused:
        ensure_identity(config, tmp_path / "ca.pem", tmp_path / "passphrase")
    assert "guess" not in str(refused.value)
    assert not (tmp_path / "identity/machine.pem").exists()


@pytest.mark.parametrize(
    ("model", "first"),
    [("AMD EPYC 7B13", "TLS_AES_128_GCM_SHA256"), ("QEMU TCG CPU version 2.5+", "TLS_CHACHA20_POLY1305_SHA256")],
)
def test_openssl_is_told_what_suits_the_processor(tmp_path, model, first):
    choice = tls_choice(f"processor\t: 0\nmodel name\t: {model}\n")
    (tmp_path / "openssl.cnf").write_text(choice.configuration)
    code = "import ssl; print(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).get_ciphers()[0]['name'])"
    environment = {**os.environ, **choice.environment(tmp_path / "openssl.cnf")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=True, timeout=30, text=True
    )
    assert done.stdout.strip() == first


def test_the_mobility_service_imports_only_the_standard_library():
    code = (
        "import lab.replication.mobility.agent, lab.replication.mobility.__main__, lab.replication.install\n"
        "print({m.split('.')[0] for m in sys.modules} - set(sys.stdlib_module_names) - {'lab'})"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {code}"],
        capture_output=True,
        check=True,
        timeout=60,
        text=True,
    )
    assert done.stdout.strip() in ("{'__main__'}", "set()")


def test_peers_are_who_their_certificate_says():
    def certificate(*names):
        return {"subjectAltName": tuple(("URI", name) for name in names)}

    assert peer_of(certificate("urn:recovery:mobility:app1", "https://x")) == Peer("mobility", "app1")
    for bad in (
        certificate(),
        certificate("urn:recovery:mobility:"),
        certificate("urn:recovery:mobility:a:b"),
        certificate("urn:recovery:a:b", "urn:recovery:c:d"),
        {},
    ):
        with pytest.raises(UnknownPeer):
            peer_of(bad)


def test_a_configuration_without_what_is_needed_is_refused(tmp_path):
    with pytest.raises(BadConfig):
        ServiceConfig.from_json({"kind": "mobility"})
    (tmp_path / "x.json").write_text("{\n,")
    with pytest.raises(BadConfig, match=r"x\.json:2"):
        load_config(tmp_path / "x.json")


def test_replica_networks_match_the_replicas_mac(tmp_path):
    network = {
        "mac": "52:54:00:00:00:01",
        "address": "10.9.0.5",
        "prefix": 24,
        "routes": [{"to": "10.8.0.0/16", "via": "10.9.0.1"}],
    }
    first, _ = write_replica_networks([network, network], tmp_path)
    text = first.read_text()
    assert "[Match]\nMACAddress=52:54:00:00:00:01\n" in text
    assert "Address=10.9.0.5/24" in text
    assert "Destination=10.8.0.0/16\nGateway=10.9.0.1" in text
    assert write_replica_networks([], tmp_path) == []
    assert not list(tmp_path.glob("*.network"))
    with pytest.raises(ValueError, match="does not appear"):
        write_replica_networks([{**network, "address": "10.9.0.5\nEvil=1"}], tmp_path)


def test_tls_contexts_refuse_old_versions(tmp_path, authority):
    identity = authority.issue(tmp_path / "id", "mobility", "app1")
    context = client_context(identity)
    assert context.minimum_version is ssl.TLSVersion.TLSv1_3
    assert context.check_hostname


def test_a_console_is_a_command_and_no_service(tmp_path, control):
    built, root = tmp_path / "package.tar.gz", tmp_path / "root"
    package.build_package(built)
    value = {**json.loads(config_file(tmp_path, control).read_text()), "kind": "console"}
    (tmp_path / "console.json").write_text(json.dumps(value))
    with pytest.raises(SystemExit) as ended:
        install.main(
            [
                "--kind",
                "console",
                "--config",
                str(tmp_path / "console.json"),
                "--package",
                str(built),
                "--root",
                str(root),
            ]
        )
    assert not ended.value.code
    launcher = root / "usr/local/bin/recovery-console"
    assert os.access(launcher, os.X_OK)
    assert not (root / "etc/systemd").exists()
    help_text = subprocess.run(
        [sys.executable, "-m", "lab.replication.console", "--help"],
        cwd=root / "opt/recovery/current",
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert "do" in help_text
    assert "cd /opt/recovery/current" in launcher.read_text()
