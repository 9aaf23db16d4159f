"""``python -m lab.emulators.hyperv``: an emulated host as a process of a lab. People use ``lab emulate hyperv``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.emulators.common.process import run_program
from lab.emulators.hyperv.backend import BackendError
from lab.emulators.hyperv.run import Choices, serving


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
    return run_program(serving(choices), "lab.emulators.hyperv", BackendError)


if __name__ == "__main__":
    sys.exit(main())
