"""The scripts of the peers, with programs in the place of ssh and rsync that say what they were asked for."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from lab.bench.peers import RSYNC

SSH = """#!/bin/sh
for last; do :; done
exec sh -c "$last"
"""
SAYS_WORDS = """#!/bin/sh
printf '%s\\n' "$@"
"""


def test_rsync_is_given_devices_and_no_links_to_them(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("ssh", SSH), ("rsync", SAYS_WORDS)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    for name in ("vda", "vdb"):
        (tmp_path / name).touch()
        (tmp_path / f"by-serial-{name}").symlink_to(tmp_path / name)
    said = subprocess.run(
        ["bash", "-c", RSYNC, "bash", "/run/lab", f"{tmp_path}/by-serial-vda", f"{tmp_path}/by-serial-vdb"],
        env={"PATH": f"{programs}:{os.environ['PATH']}"},
        check=True,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert said.stdout.splitlines()[-2:] == [str(tmp_path / "vda"), f"target:{tmp_path}/vdb"]
