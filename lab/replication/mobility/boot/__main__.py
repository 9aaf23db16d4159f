"""``python3 -m lab.replication.mobility.boot``: put the capture in front of the initramfs again (after an update)."""

from __future__ import annotations

import json

from lab.replication.mobility.boot.prepare import STATE, prepare


def main() -> None:
    """Repeat what the last ``prepare`` did."""
    state = json.loads(STATE.read_text(encoding="utf-8"))
    prepare([(name, serial) for name, serial in state["disks"]], state["change_log"])


if __name__ == "__main__":
    main()
