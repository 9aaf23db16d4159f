"""``python3 -m lab.replication.mobility --config FILE [--capture MODULE:FUNCTION]``."""

from __future__ import annotations

import argparse
import importlib

from lab.replication.common.config import ServiceConfig
from lab.replication.common.outbox import Outbox
from lab.replication.common.service import run_service
from lab.replication.mobility.agent import CaptureFactory, MobilityAgent

DEFAULT_CAPTURE = "lab.replication.mobility.dm_capture:open_capture"


def main() -> None:
    """Run the service with the capture that the arguments name."""
    parser = argparse.ArgumentParser(prog="lab.replication.mobility")
    parser.add_argument("--capture", default=DEFAULT_CAPTURE, help="what captures writes (default: %(default)s)")
    given, rest = parser.parse_known_args()
    module, _, function = str(given.capture).partition(":")
    open_capture: CaptureFactory = getattr(importlib.import_module(module), function)

    def build(config: ServiceConfig, outbox: Outbox) -> MobilityAgent:
        return MobilityAgent(config, outbox, open_capture)

    run_service("mobility", build, rest)


if __name__ == "__main__":
    main()
