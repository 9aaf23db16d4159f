"""``python3 -m lab.replication.mobility --config FILE [--capture MODULE:FUNCTION]``."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

from lab.replication.common.config import ServiceConfig, load_config
from lab.replication.common.outbox import Outbox
from lab.replication.common.service import run_service
from lab.replication.mobility.agent import CaptureFactory, MobilityAgent
from lab.replication.mobility.boot.prepare import make_spool

DEFAULT_CONFIG = Path("/etc/recovery/mobility.json")
SPOOL_DEVICE = Path("/dev/mapper/mobility-spool")
DEFAULT_CAPTURE = "lab.replication.mobility.dm_capture:open_capture"


def main() -> None:
    """Run the service with the capture that the arguments name."""
    parser = argparse.ArgumentParser(prog="lab.replication.mobility")
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG)
    parser.add_argument("--capture", default=DEFAULT_CAPTURE, help="what captures writes (default: %(default)s)")
    given = parser.parse_args()
    mount_spool(load_config(given.config))
    module, _, function = str(given.capture).partition(":")
    open_capture: CaptureFactory = getattr(importlib.import_module(module), function)

    def build(config: ServiceConfig, outbox: Outbox) -> MobilityAgent:
        return MobilityAgent(config, outbox, open_capture)

    run_service("mobility", build, ["--config", str(given.config)])


def mount_spool(config: ServiceConfig) -> None:
    """Mount the spool first of all: the service's own state lives there. Raises CannotCapture."""
    if SPOOL_DEVICE.exists():
        make_spool(SPOOL_DEVICE, Path(config.settings["spool_dir"]))


if __name__ == "__main__":
    main()
