"""A Kerberos realm for tests: a real KDC (MIT) on a free port of loopback, in a folder of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.stacks.reference.realm import client_text
from lab.waiting import Deadline, wait_until

NAME = "TEST.RECOVERY"
PROGRAMS = ("krb5kdc", "kadmin.local", "kdb5_util")
PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
SECONDS = 60.0
SERVER = """[kdcdefaults]
 kdc_listen = ""
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 {realm} = {{
  database_name = {folder}/principal
  key_stash_file = {folder}/stash
  acl_file = {folder}/acl
 }}
"""


def realm_refusal() -> str | None:
    """Say why no realm can be had here, or None."""
    missing = [program for program in PROGRAMS if shutil.which(program, path=PATH) is None]
    if missing:
        return f"{missing[0]} is not installed (krb5-kdc, krb5-admin-server)"
    if importlib.util.find_spec("gssapi") is None:
        return "the Python package gssapi is not installed"
    return None


class Kdc:
    """A KDC that runs; ``environment`` is for whoever wants tickets of it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        values = {"realm": NAME, "folder": folder, "port": port}
        (folder / "krb5.conf").write_text(client_text(NAME, "127.0.0.1", port))
        (folder / "kdc.conf").write_text(SERVER.format(**values))
        self.environment = {
            "KRB5_CONFIG": str(folder / "krb5.conf"),
            "KRB5_KDC_PROFILE": str(folder / "kdc.conf"),
            "KRB5RCACHEDIR": str(folder),
            "KRB5CCNAME": f"FILE:{folder}/ccache",
        }
        self._keytabs: dict[str, Path] = {}
        self._made = 0

    def run(self, program: str, *arguments: str, stdin: str = "") -> str:
        environment = {**os.environ, **self.environment, "PATH": PATH}
        done = subprocess.run(
            [program, "-r", NAME, *arguments],
            input=stdin, capture_output=True, text=True, timeout=SECONDS, check=True, env=environment,
        )  # fmt: skip
        return done.stdout

    def add(self, *principals: str) -> None:
        self.run("kadmin.local", stdin="".join(f"addprinc -randkey {each}\n" for each in principals))

    def change_key(self, principal: str) -> None:
        self.run("kadmin.local", "cpw", "-randkey", principal)
        self._keytabs.pop(principal, None)

    def keytab(self, principal: str) -> Path:
        """Return a file with the present keys of a principal."""
        if principal not in self._keytabs:
            self._made += 1
            self._keytabs[principal] = self.folder / f"{self._made}.keytab"
            self.run("kadmin.local", "ktadd", "-norandkey", "-k", str(self._keytabs[principal]), principal)
        return self._keytabs[principal]


@contextmanager
def realm() -> Iterator[Kdc]:
    """Yield a realm that knows nobody, with this process's environment pointing to it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="realm-") as folder:
        kdc = Kdc(Path(folder), port)
        kdc.run("kdb5_util", "create", "-s", stdin="of a test\nof a test\n")
        os.environ.update(kdc.environment)
        with (kdc.folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(shutil.which("krb5kdc", path=PATH)), "-n", "-r", NAME], stdout=log, stderr=log
            )
        try:
            wait_until(lambda: _answers(port), Deadline.after(SECONDS), "the KDC", every=0.02)
            yield kdc
        finally:
            process.terminate()
            process.wait(SECONDS)
            os.environ.clear()
            os.environ.update(before)


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), SECONDS).close()
    except OSError:
        return False
    return True
