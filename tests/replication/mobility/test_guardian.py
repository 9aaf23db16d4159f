"""The second process that resumes suspended disks when the service dies."""

import os
import signal
from pathlib import Path

import pytest

from lab.replication.mobility import guardian
from lab.waiting import Deadline, wait_until


class Mapper:
    def resume(self, name: str) -> None:
        Path(name).touch()


@pytest.fixture
def pipe_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardian, "DeviceMapper", Mapper)


def ignores(process: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{process}/status").read_text().split("SigIgn:")[1].split()[0]
    return bool(int(status, 16) >> (number - 1) & 1)


@pytest.mark.usefixtures("pipe_only")
def test_a_cut_may_end_while_the_service_is_told_to_stop(tmp_path: Path) -> None:
    watched = guardian.Guardian([str(tmp_path / "resumed")])
    try:
        wait_until(lambda: ignores(watched._child, signal.SIGTERM), Deadline.after(20), "deaf ears", every=0.05)
        os.kill(watched._child, signal.SIGTERM)
        with watched.watching():
            pass
    finally:
        watched.close()
    assert not (tmp_path / "resumed").exists()


@pytest.mark.usefixtures("pipe_only")
def test_disks_are_resumed_when_the_service_dies_in_the_middle_of_a_cut(tmp_path: Path) -> None:
    watched = guardian.Guardian([str(tmp_path / "resumed")])
    os.write(watched._writer, guardian._BEGIN)
    watched.close()  # as the end of the process would
    assert (tmp_path / "resumed").exists()
