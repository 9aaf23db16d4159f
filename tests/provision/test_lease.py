"""What labs of one home have in common is used by one at a time."""

import subprocess
import sys
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.locks import held
from lab.waiting import Deadline

HOLDER = """
import sys
from pathlib import Path
from lab.locks import held
from lab.waiting import Deadline
with held(Path(sys.argv[1]) / "ports", Deadline.after(5), "turn with ports"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_at_a_time_and_the_next_as_soon_as_it_is_free(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(LabError, match="turn with ports"),
            held(tmp_path / "ports", Deadline.after(0.2), "turn with ports"),
        ):
            pass
        with held(tmp_path / "others", Deadline.after(0.2), "turn with others"):
            pass
        assert holder.stdin is not None
        holder.stdin.close()
        with held(tmp_path / "ports", Deadline.after(30), "turn with ports"):
            pass
