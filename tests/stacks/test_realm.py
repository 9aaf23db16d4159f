"""The realm that a lab makes for its hosts, with the real programs of a KDC; a folder stands in for machines."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
from realm import PATH, SECONDS, realm_refusal

from lab.stacks.reference.realm import CLIENT, KEYTAB, SERVER, make_realm
from lab.topology.load import load_topology

REFUSAL = realm_refusal()
pytestmark = pytest.mark.skipif(REFUSAL is not None, reason=str(REFUSAL))
TOPOLOGY = Path(__file__).parents[2] / "topologies" / "hyperv-to-secondary.yaml"
KDC = ("kdb5_util", "kadmin.local")


class Machine:
    """Runs the programs of the KDC here, and remembers the rest."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.ssh = name, self
        self.folder = folder
        folder.mkdir()
        self.files: dict[str, tuple[bytes, int]] = {}
        self.commands: list[tuple[str, ...]] = []

    def put(self, content: bytes, path: str, *, mode: int = 0o644) -> None:
        self.files[path] = (content, mode)
        if path in (CLIENT, SERVER):
            text = content.decode()
            for place in ("/var/lib/krb5kdc", "/etc/krb5kdc"):
                text = text.replace(place, str(self.folder))
            (self.folder / Path(path).name).write_text(text)

    def get(self, path: str) -> bytes:
        return self._here(path).read_bytes()

    def run(self, *argv: str, **_: object) -> None:
        self.commands.append(argv)
        if argv[0] == "rm":
            self._here(argv[-1]).unlink()

    def check(self, *argv: str, stdin: str = "", seconds: float = SECONDS) -> str:
        self.commands.append(argv)
        if argv[0] not in KDC:
            return ""
        here = [str(self._here(word)) if word.startswith("/run/") else word for word in argv]
        config = {"KRB5_CONFIG": str(self.folder / "krb5.conf"), "KRB5_KDC_PROFILE": str(self.folder / "kdc.conf")}
        done = subprocess.run(
            here, input=stdin, capture_output=True, text=True, timeout=seconds, check=True,
            env={**os.environ, **config, "PATH": PATH},
        )  # fmt: skip
        return done.stdout

    def _here(self, path: str) -> Path:
        return self.folder / Path(path).name


def test_each_host_has_keys_of_its_own_and_nobody_else_can_read_them(tmp_path: Path) -> None:
    machines = {name: Machine(name, tmp_path / name) for name in ("hv1", "hv2", "vmm2")}
    lab = SimpleNamespace(topology=load_topology(TOPOLOGY), machine=machines.__getitem__)
    kdc = machines["vmm2"]
    make_realm(lab, SimpleNamespace(step=lambda *_: None), kdc)
    keys = [machines[host].files[KEYTAB] for host in ("hv1", "hv2")]
    assert {mode for _, mode in keys} == {0o600}
    for (content, _), mine, other in zip(keys, (b"hv1", b"hv2"), (b"hv2", b"hv1"), strict=True):
        assert mine in content
        assert other not in content
        assert b"HYPERV-TO-SECONDARY.RECOVERY-LAB" in content
    assert "host/hv1@HYPERV-TO-SECONDARY.RECOVERY-LAB" in kdc.check("kadmin.local", "listprincs")
    assert not list(kdc.folder.glob("hv*")), "keys stay on the KDC"
    assert kdc.commands[-2] == ("systemctl", "enable", "--now", "krb5-kdc")
    assert b" kdc = 10.30.0.42:88\n" in machines["hv2"].files[CLIENT][0]
    assert b" kdc = 127.0.0.1:88\n" in kdc.files[CLIENT][0]
