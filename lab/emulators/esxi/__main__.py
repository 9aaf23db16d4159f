"""``python -m lab.emulators.esxi``: an emulated host as a process of a lab. People use ``lab emulate esxi``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.emulators.common.process import run_program
from lab.emulators.esxi.backend import BackendError
from lab.emulators.esxi.run import Choices, serving
from lab.emulators.esxi.service import Licence


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal and return the exit code."""
    parser = argparse.ArgumentParser(prog="lab.emulators.esxi")
    parser.add_argument("--home", type=Path, required=True, help="folder of the datastore and of certificates")
    parser.add_argument("--acceleration", choices=("kvm", "tcg", "memory"), default="tcg")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--lab", default="", help="lab whose switches the port groups are")
    parser.add_argument("--store", type=Path, help="folder of labs")
    parser.add_argument("--vcenter", action="store_true")
    parser.add_argument("--licence", choices=[each.value for each in Licence], default=Licence.FULL.value)
    parser.add_argument("--password-file", type=Path)
    given = parser.parse_args(arguments)
    choices = Choices(
        home=given.home,
        acceleration=given.acceleration,
        port=given.port,
        lab=given.lab,
        vcenter=given.vcenter,
        licence=Licence(given.licence),
        password_file=given.password_file,
        store=given.store,
    )
    return run_program(serving(choices), "lab.emulators.esxi", BackendError)


if __name__ == "__main__":
    sys.exit(main())
