"""``python -m lab.emulators.bmc``: an emulated BMC as a process of a lab. People use ``lab emulate bmc``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from lab.emulators.bmc.run import Choices, serving
from lab.emulators.common.home import CannotStart
from lab.emulators.common.process import run_program


def main(arguments: list[str] | None = None) -> int:
    """Serve until a signal and return the exit code."""
    parser = argparse.ArgumentParser(prog="lab.emulators.bmc")
    parser.add_argument("--home", type=Path, required=True, help="folder of its state, certificate and password")
    parser.add_argument("--lab", required=True, help="tag of the machines behind it")
    parser.add_argument("--machine", default="", help="the one machine behind it")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--uri", default="", help="libvirt that has the machines")
    parser.add_argument("--password-file", type=Path)
    parser.add_argument("--store", type=Path, help="folder of labs")
    parser.add_argument("--network", default="", help="lab on whose switches the machines' cards are")
    parser.add_argument("--network-store", type=Path, help="folder of labs that this lab is one of")
    parser.add_argument("--ipmi", action="store_true", help="power and boot source by IPMI too")
    choices = Choices(**vars(parser.parse_args(arguments)))
    return run_program(serving(choices), "lab.emulators.bmc", CannotStart)


if __name__ == "__main__":
    sys.exit(main())
