"""``python -m lab.emulators.hyperv``: an emulated host as a process of a lab. People use ``lab emulate hyperv``."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from lab.emulators.common.home import CannotStart
from lab.emulators.hyperv.backend import BackendError
from lab.emulators.hyperv.run import Choices, Serving, serve_until_signal

LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"
log = logging.getLogger("lab.emulators.hyperv")


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal and return the exit code."""
    parser = argparse.ArgumentParser(prog="lab.emulators.hyperv")
    parser.add_argument("--home", type=Path, required=True, help="folder of certificates, accounts and files")
    parser.add_argument("--acceleration", choices=("kvm", "tcg", "memory"), default="tcg")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--lab", default="", help="lab whose tag the machines carry, and whose switches are there")
    parser.add_argument("--uri", default="", help="libvirt that has the machines")
    parser.add_argument("--store", type=Path, help="folder for disks that QEMU can reach")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--vmm", action="store_true", help="a VMM server answers on the same host")
    parser.add_argument("--shared", action="store_true", help="the lab has machines of its own in that libvirt")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    choices = Choices(
        home=given.home,
        acceleration=given.acceleration,
        port=given.port,
        lab=given.lab,
        uri=given.uri,
        store=given.store,
        password_file=given.password_file,
        vmm=given.vmm,
        shared=given.shared,
    )
    try:
        serve_until_signal(choices, _ready)
    except (CannotStart, BackendError, OSError) as error:
        log.error("%s", error)  # noqa: TRY400 - said in one line: the cause is outside of this program
        return 2
    return 0


def _ready(found: Serving) -> None:
    log.info("emulated host at %s, certificate %s", found.url, found.certificate)


if __name__ == "__main__":
    sys.exit(main())
