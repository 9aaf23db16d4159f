"""After a restart of a machine its record of changes goes on if nothing can be missing in it, and only then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab.replication.mobility.orderly_end import OrderlyEnd, Record, goes_on, note_ending, read_ended

BEFORE = Record("b1", {"mobility-data": "a"}, {"mobility-data": 2048})
AFTER = Record("b2", {"mobility-data": "b"}, {"mobility-data": 2048})


def ended(tmp_path, boot):
    """What the boot script of the next boot finds."""
    note = tmp_path / "note"
    note_ending(OrderlyEnd(boot, BEFORE.areas), tmp_path / "disk", note)
    return read_ended_line(tmp_path, note.read_text().splitlines()[1])


def read_ended_line(tmp_path, line):
    found = tmp_path / "ended"
    found.write_text(line + "\n")
    return read_ended(found)


@pytest.mark.requirement("LAB-RECOVERY")
def test_an_orderly_restart_goes_on(tmp_path):
    assert goes_on(BEFORE, AFTER, ended(tmp_path, "b1"))


@pytest.mark.requirement("LAB-RECOVERY", "LAB-RESYNC")
def test_lost_power_does_not(tmp_path):
    assert not goes_on(BEFORE, AFTER, read_ended_line(tmp_path, ""))
    assert not goes_on(BEFORE, AFTER, ended(tmp_path, "b0"))


@pytest.mark.requirement("LAB-RECOVERY", "LAB-RESYNC")
def test_a_disk_of_another_size_or_a_log_that_was_written_over_does_not(tmp_path):
    assert not goes_on(BEFORE, replace(AFTER, sectors={"mobility-data": 4096}), ended(tmp_path, "b1"))
    assert not goes_on(BEFORE, replace(AFTER, areas=BEFORE.areas), ended(tmp_path, "b1"))
