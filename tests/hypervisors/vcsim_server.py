"""Debian's vcsim as an independent opinion: built once from our own small main, when Go is there."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lab.emulators.common.certificate import make_certificate
from lab.hypervisors.esxi import Target, Trust

SOURCE = Path(__file__).parent / "vcsim" / "main.go"
LIBRARY = Path("/usr/share/gocode/src/github.com/vmware/govmomi/simulator")
BUILD_SECONDS = 500
USER, PASSWORD = "lab", "vcsim password"


def vcsim_refusal() -> str | None:
    """Say why vcsim cannot be built here, or None."""
    if shutil.which("go") is None:
        return "Go is not installed (apt-get install golang-go golang-github-vmware-govmomi-dev)"
    if not LIBRARY.is_dir():
        return "govmomi's simulator is not installed (apt-get install golang-github-vmware-govmomi-dev)"
    return None


def vcsim_program(cache: Path) -> Path:
    """Build vcsim unless the cache has it."""
    key = hashlib.sha256(SOURCE.read_bytes() + str(LIBRARY.stat().st_mtime_ns).encode()).hexdigest()[:12]
    program = cache / f"vcsim-{key}"
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.exists():
            environment = os.environ | {
                "GO111MODULE": "off",
                "GOPATH": "/usr/share/gocode",
                "GOCACHE": str(cache / "go"),
            }
            command = ["go", "build", "-ldflags=-s -w", "-o", str(program.with_suffix(".new")), str(SOURCE)]
            subprocess.run(command, check=True, env=environment, timeout=BUILD_SECONDS)
            program.with_suffix(".new").replace(program)
    return program


@contextmanager
def vcsim(program: Path, home: Path, *, esx: bool) -> Iterator[Target]:
    """Run a vcsim and yield how it is reached."""
    home.mkdir(exist_ok=True)
    certificate, key = home / "vcsim.pem", home / "vcsim.key"
    make_certificate(certificate, key, "vcsim.localdomain")
    environment = os.environ | {"VCSIM_USER": USER, "VCSIM_PASSWORD": PASSWORD}
    command = [str(program), *(["-esx"] if esx else []), str(certificate), str(key)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True
    ) as process:
        try:
            assert process.stdout is not None
            host, _, port = process.stdout.readline().strip().rpartition(":")
            yield Target(host, int(port), USER, PASSWORD, Trust(certificate))
        finally:
            process.stdin.close()  # type: ignore[union-attr]
            process.kill()
