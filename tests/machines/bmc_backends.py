"""What the contract of BMCs runs over: the fake, sushy-tools before a real machine, and a real BMC."""

import functools
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import boot_sector
from libvirt_here import URI, libvirt_refusal

from lab.emulators.bmc.ipmi import CIPHER_SUITE
from lab.emulators.bmc.run import Choices, Serving, serving
from lab.hypervisors.model import DiskAttachment, DiskId, MachineSpec
from lab.hypervisors.trust import Trust
from lab.machines.ipmi import IpmiPower, IpmiTarget
from lab.machines.memory_bmc import MemoryBmc
from lab.machines.power import Bmc, BootSource
from lab.machines.power_by_ipmi import PoweredByIpmi
from lab.machines.redfish import connect
from lab.machines.redfish_session import Target
from lab.networks.naming import tag_of
from lab.waiting import Deadline, wait_until

BOOTED = {boot_sector.DISK: BootSource.DISK, boot_sector.CD: BootSource.CD}


@dataclass(frozen=True)
class Machine:
    """A machine that is off behind a BMC."""

    bmc: Bmc
    medium: str
    booted: Callable[[], list[BootSource]] | None
    """What it booted from so far; None where nobody can look."""


@dataclass(frozen=True)
class Emulated:
    """An emulated BMC before two real machines, of which the first is meant."""

    serving: Serving
    medium: str
    installer: str
    """A medium that says that it is done, and switches the machine off."""
    console: Path
    home: Path
    domain: str
    """What libvirt calls the machine."""
    lab: str
    store: Path

    def target(self, **changes: object) -> Target:
        password = (self.home / "password").read_text().strip()
        given = {"user": self.serving.user, "password": password, "system": self.serving.systems["m1"], **changes}
        return Target(self.serving.url, trust=Trust(self.serving.certificate), **given)  # type: ignore[arg-type]

    def booted(self) -> list[BootSource]:
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        lines = [line.strip() for line in text.splitlines()]
        return [source for line in lines for words, source in BOOTED.items() if line.endswith(words)]


@contextmanager
def emulated() -> Iterator[Emulated]:
    """Start it; machines, media and pool are gone afterwards."""
    from lab.hypervisors.libvirt import connect as connect_libvirt
    from lab.hypervisors.libvirt.xml import domain_name

    with ExitStack() as stack:
        # Not tmp_path: QEMU's user has to be able to enter the folder.
        store = Path(tempfile.mkdtemp(prefix="bmc-", dir="/var/tmp"))
        stack.callback(shutil.rmtree, store, ignore_errors=True)
        store.chmod(0o711)
        name = f"bmc-{os.getpid()}"
        lab = connect_libvirt(URI, name, store, "tcg")
        stack.callback(lab.close)
        stack.callback(lab.remove_all)
        media, image = store / "media", store / "disk.raw"
        media.mkdir()
        boot_sector.write_disk(image)
        boot_sector.write_cd(media / "cd.iso", store)
        boot_sector.write_cd(media / "installer.iso", store, boot_sector.INSTALLER, boot_sector.OFF_CODE)
        for machine in ("m1", "m2"):
            disk = DiskId(f"{machine}-system")
            lab.create_disk(disk, image.stat().st_size)
            lab.storage.path(disk).write_bytes(image.read_bytes())
            lab.define(MachineSpec(machine, 1, 32, (DiskAttachment(disk, "system"),), (), None))
        domain = domain_name(tag_of(name, store), "m1")
        url = stack.enter_context(served(media))
        found = stack.enter_context(serving(Choices(store / "home", name, uri=URI, store=store)))
        yield Emulated(
            found, f"{url}/cd.iso", f"{url}/installer.iso", lab.console_log("m1"), store / "home", domain, name, store
        )
    # What sushy-tools left open must not be found by another test.
    gc.collect()


@dataclass(frozen=True)
class EmulatedByIpmi:
    """Another BMC before the first of these machines: a process, as in a lab, that answers Redfish and IPMI."""

    redfish: Target
    ipmi: IpmiTarget
    log: Path

    def bmc(self) -> Bmc:
        return PoweredByIpmi(IpmiPower(self.ipmi), connect(self.redfish))


@contextmanager
def emulated_by_ipmi(before: Emulated) -> Iterator[EmulatedByIpmi]:
    """Start it; it is gone afterwards."""
    home = before.store / "ipmi"
    given = ["--home", str(home), "--lab", before.lab, "--store", str(before.store), "--uri", URI]
    home.mkdir(mode=0o700)
    log = home / "log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "lab.emulators.bmc", *given, "--machine", "m1", "--ipmi"]
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        place = home / "endpoint.json"
        there = lambda: place.exists() or process.poll() is not None  # noqa: E731
        wait_until(there, Deadline.after(120), "emulated BMC", explain=log.read_text)
        assert process.poll() is None, log.read_text()
        said, password = json.loads(place.read_text()), (home / "password").read_text().strip()
        trust = Trust(Path(said["certificate"]), pinned=True)
        redfish = Target(said["url"], said["user"], password, trust)
        where, user, port = "127.0.0.1", said["user"], said["ipmi_port"]
        ipmi = IpmiTarget(where, user, password, port, allowed=True, cipher_suite=CIPHER_SUITE)
        yield EmulatedByIpmi(redfish, ipmi, log)
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_args: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def memory_machine() -> Machine:
    bmc = MemoryBmc()
    return Machine(bmc, "http://127.0.0.1/cd.iso", lambda: bmc.booted)


def real_machine(url: str) -> Machine:
    """Return the machine of ``--bmc-endpoint``. It is switched on and off, and boots BMC_MEDIUM."""
    assert urlsplit(url).scheme == "https", f"--bmc-endpoint: https://HOST[:PORT] is expected, not {url}"
    given = os.environ
    trust = Trust(Path(given["BMC_CERTIFICATE"]), pinned=True)
    target = Target(url, given["BMC_USER"], given["BMC_PASSWORD"], trust, given.get("BMC_SYSTEM"))
    bmc: Bmc = connect(target)
    if "BMC_IPMI_PORT" in given:
        bmc = PoweredByIpmi(IpmiPower(real_ipmi(url)), bmc)
    return Machine(bmc, given["BMC_MEDIUM"], None)


def real_ipmi(url: str) -> IpmiTarget:
    """Return the IPMI side of ``--bmc-endpoint``; who names BMC_IPMI_PORT allows it."""
    given, host = os.environ, urlsplit(url).hostname or ""
    return IpmiTarget(host, given["BMC_USER"], given["BMC_PASSWORD"], int(given["BMC_IPMI_PORT"]), allowed=True)


def refusal() -> str | None:
    """Say why machines cannot be started here, or None."""
    return libvirt_refusal("qemu-system-x86_64", "genisoimage")
