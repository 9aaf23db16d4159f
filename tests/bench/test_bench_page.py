"""The page in docs: its table is written by the bench, and keeps what this run did not measure."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from lab.bench.page import BEGIN, END, table, update_page, with_table
from lab.bench.record import Recorded, Run, read_rows
from lab.bench.rows import faster_than_peer, share_of_limit
from lab.errors import BadInput

DOCS = Path(__file__).parents[2] / "docs"
RUN = Run("2026-11-30T03:00", "0.1.0", 2, "tcg", 1.5)
FIRST = Recorded(faster_than_peer("initial-replication-random-dd", "s", [(1234, 1500)]), RUN)
SECOND = Recorded(share_of_limit("initial-replication-random-limit", "s", [(20, 10)], 0.8, "read 10.0 s"), RUN)


def page(folder: Path) -> Path:
    found = folder / "bench.md"
    found.write_text(f"# Bench\nabove\n{BEGIN}\n{END}\nbelow\n")
    return found


def test_rows_of_earlier_runs_stay_on_the_page(tmp_path: Path) -> None:
    found = page(tmp_path)
    update_page(found, [FIRST])
    update_page(found, [SECOND])
    again = Recorded(FIRST.row, replace(RUN, at="2026-12-01T00:00"))
    update_page(found, [again])
    text = found.read_text()
    assert text.startswith("# Bench\nabove\n")
    assert text.endswith(f"{END}\nbelow\n")
    assert text.count("`initial-replication-random-dd`") == 1
    assert "2026-12-01 00:00, 2 cores, tcg, load 1.5, 0.1.0" in text
    assert "`initial-replication-random-limit`" in text
    assert read_rows(tmp_path / "bench.json") == [again, SECOND]


def test_a_row_says_what_was_compared() -> None:
    *_, first, second = table([FIRST, SECOND]).splitlines()
    assert first.startswith("| `initial-replication-random-dd` | 1234 s | 1500 s |  | 1.22 | 1 | yes | 1 |")
    assert second.startswith("| `initial-replication-random-limit` | 20 s |  | 10 s | 0.50 | 0.8 | **no** | 1 |")
    assert second.endswith("| read 10.0 s |")


def test_a_note_stays_in_its_cell() -> None:
    *_, line = table([Recorded(replace(FIRST.row, note="dd | ssh"), RUN)]).splitlines()
    assert line.endswith(r"| dd \| ssh |")


def test_what_a_person_has_carried_over_says_from_where() -> None:
    run = Run("2026-11-30", "0.1.0", None, None, None, "decisions/0022-fast.md")
    row = replace(FIRST.row, ours=None, peer=None)
    *_, line = table([Recorded(row, run)]).splitlines()
    assert "by hand from [0022-fast](decisions/0022-fast.md)" in line
    assert line.startswith("| `initial-replication-random-dd` |  |  |  | 1.22 |")


@pytest.mark.parametrize("text", ["", f"{END}\n{BEGIN}\n", BEGIN])
def test_a_page_without_a_place_for_the_table_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "page.md").write_text(text)
    with pytest.raises(BadInput, match="no place for the table"):
        update_page(tmp_path / "page.md", [FIRST])
    assert not (tmp_path / "page.json").exists()


def test_the_page_in_docs_shows_what_is_beside_it() -> None:
    rows = read_rows(DOCS / "bench.json")
    assert len(rows) == len(json.loads((DOCS / "bench.json").read_text()))
    assert with_table(DOCS / "bench.md", rows) == (DOCS / "bench.md").read_text()
    for each in rows:
        assert not each.run.by_hand or (DOCS / each.run.by_hand).is_file()


def test_a_file_of_the_bench_is_joined_by_a_command(tmp_path: Path) -> None:
    found = page(tmp_path)
    command = [sys.executable, "-m", "lab.bench.page", str(found), str(DOCS / "bench.json")]
    subprocess.run(command, check=True, timeout=60)
    assert read_rows(tmp_path / "bench.json") == read_rows(DOCS / "bench.json")


def test_a_page_that_cannot_be_written_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lab.bench", "--only", "run-time", "--page", str(tmp_path / "missing.md")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "no place for the table" in done.stderr
