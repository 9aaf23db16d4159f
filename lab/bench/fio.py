"""What fio is asked for, what it says, and the rows that follow from it. Pure.

Both jobs overwrite a file that is written wholly, past the page cache, one write at a time. A round writes 48 MiB at
most: less than the change log of a small data disk holds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from lab.bench.rows import Row, context
from lab.errors import LabError

FILE_MIB = 64
RANDOM, SEQUENTIAL = "random", "sequential"
JOBS: Mapping[str, tuple[str, ...]] = {
    RANDOM: ("--rw=randwrite", "--bs=4k", "--sync=1", "--io_size=16M", "--runtime=20"),
    SEQUENTIAL: ("--rw=write", "--bs=1M", "--io_size=32M", "--runtime=60"),
}
"""Random writes of 4 KiB, each on the disk before the next one; sequential writes of 1 MiB."""
UNITS = {RANDOM: "1/s", SEQUENTIAL: "MB/s"}
Round = Mapping[str, float]
"""The rate of each job, in its unit."""
Phases = tuple[Sequence[Round], Sequence[Round], Sequence[Round]]
"""Without, with, and without again."""


def command(job: str, path: str) -> list[str]:
    """Return the command line of a job."""
    common = ("--ioengine=psync", "--direct=1", f"--size={FILE_MIB}M", "--fallocate=none", "--output-format=json")
    return ["fio", f"--name={job}", f"--filename={path}", *common, *JOBS[job]]


def rate_of(job: str, output: str) -> float:
    """Return the rate that fio says. Raises LabError for anything but one job without an error."""
    try:
        # Notes of fio come before its document.
        (found,) = json.loads(output[output.index("{") :])["jobs"]
        if found["error"]:
            raise LabError(f"fio {job} ended with error {found['error']}")
        written = found["write"]
        return float(written["iops"]) if job == RANDOM else float(written["bw_bytes"]) / 1e6
    except (ValueError, KeyError, TypeError) as error:
        raise LabError(f"fio {job} said {output[-300:]!r}") from error


def rows(before: Sequence[Round], protected: Sequence[Round], again: Sequence[Round]) -> list[Row]:
    """Return two rows for each job: protected against unprotected, and unprotected again against before.

    Each round is compared with the mean of the unprotected ones before and after it: what drifts evenly cancels out.
    The second row says how much of the first may be drift. No goal is stated for either.
    """
    found = []
    for job, unit in UNITS.items():
        found.append(context(f"overhead-{job}", unit, _compared(job, before, protected, again)))
        apart = [(last[job], first[job]) for first, last in zip(before, again, strict=True)]
        found.append(context(f"overhead-{job}-again", unit, apart))
    return found


def rows_beside(ours: Phases, mirrored: Phases) -> list[Row]:
    """Return a row for each job: what is left of an unprotected disk's rate under the stack, and under DRBD."""
    found = []
    for job in UNITS:
        shares = [[rate / bare for rate, bare in _compared(job, *phases)] for phases in (ours, mirrored)]
        row = context(f"overhead-{job}-drbd", "of a bare disk", list(zip(*shares, strict=True)))
        found.append(replace(row, note="DRBD 8.4, protocol A, not encrypted"))
    return found


def _compared(
    job: str, before: Sequence[Round], protected: Sequence[Round], again: Sequence[Round]
) -> list[tuple[float, float]]:
    rounds = zip(before, protected, again, strict=True)
    return [(middle[job], (first[job] + last[job]) / 2) for first, middle, last in rounds]
