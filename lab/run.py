"""One run: up, suites, artifacts, certificate, down. What ``lab run`` does."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from rich.console import Console

from lab.errors import LabError
from lab.garbage import none_looked_for
from lab.history.model import RunRecord
from lab.history.store import History, history_url
from lab.interrupts import exit_code_of
from lab.ledger import EventKind, Ledger
from lab.measure.memory import PeakMemory
from lab.provision.artifacts import collect
from lab.provision.board import Board, ConsoleBoard
from lab.provision.down import tear_down
from lab.provision.home import Home, LabFolder
from lab.provision.lab import Lab
from lab.provision.lease import leased
from lab.provision.lent import NOTHING, drift_report
from lab.provision.runnable import facts_for, refuse_unrunnable
from lab.provision.state import LabState
from lab.provision.up import open_lab, refuse_if_up
from lab.runs import (
    ALLURE_FOLDER,
    JUNIT_FILE,
    LEDGER_FILE,
    end_run,
    is_reference,
    new_run_directory,
    record_sensitivity,
    start_run,
)
from lab.saved.ready import make_ready
from lab.saved.renew import make_renewed
from lab.topology.load import load_topology
from lab.topology.model import Topology
from reports.allure import write_allure_environment
from reports.bundle.keys import signing_key
from reports.bundle.seal import seal
from reports.certificate import HTML_FILE, as_json, catalogue_of, write_certificate
from reports.model import Certificate
from reports.pdf import write_pdf
from reports.profile import CPU

SUITES = Path(__file__).resolve().parents[1] / "suites"
MakeLab = Callable[[Topology, Home, str, Board], Lab]
"""Makes the lab of a topology under a name."""
NOT_UP = 70


class Keep(StrEnum):
    """When the machines stay after a run."""

    NEVER = "never"
    ON_FAILURE = "on-failure"
    ALWAYS = "always"

    def keeps(self, *, passed: bool) -> bool:
        """Whether the machines stay after a run that ended like this."""
        return self is Keep.ALWAYS or (self is Keep.ON_FAILURE and not passed)


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    verdict: str
    certificate: Path
    passed: bool


def run_topology(
    file: Path,
    *,
    name: str | None,
    keep: Keep,
    out: Path,
    pytest_arguments: Sequence[str],
    terminal: Console,
    fresh: bool = False,
    reinstall: bool = False,
) -> Outcome:
    """Run the suites on a topology and write the certificate, whatever happens on the way.

    ``fresh``: boot all machines, also if a saved lab fits, and save none. ``reinstall``: go on from a saved lab of any
    build of the stack, and install this one over it.

    Raises:
        LabError: this machine lacks something, or the lab did not come up; nothing is left running unless asked for.
    """
    with none_looked_for():
        topology = load_topology(file)
    lab_name = name or topology.name
    home = Home.default()
    key = signing_key(home.folder)
    facts = facts_for(topology, home.folder)
    refuse_unrunnable(topology, facts)
    with leased(home, lab_name):
        # Before anything that ends in taking the lab down: this one would be somebody else's.
        refuse_if_up(home.lab(lab_name))
        run_dir = new_run_directory(out, topology.name)
        ledger = start_run(run_dir, topology, facts)
        if is_reference(topology):
            record_sensitivity(ledger, home.folder)
        write_allure_environment(run_dir)
        began = time.monotonic()
        with _taken_down(home, lab_name, keep, terminal, run_dir) as state, memory_of(home.lab(lab_name)) as memory:
            make = make_renewed if reinstall else partial(make_ready, fresh=fresh)
            exit_code = _up_and_test(
                topology, home, lab_name, terminal, run_dir=run_dir, pytest_arguments=pytest_arguments, make=make
            )
            state.passed = exit_code == 0
            with _phase(ledger, "logs and consoles"):
                _keep_artifacts(topology, home, lab_name, run_dir)
        _measure(ledger, "run-seconds", time.monotonic() - began, "s", "from the first machine to the last one gone")
        _measure(ledger, CPU, _own_cpu_seconds(), "s", "the lab and its tests, machines left out")
        _measure(ledger, "peak-memory-mib", memory.peak_mib, "MiB", "all machines and the lab itself")
        end_run(ledger, exit_code)
    return _certify(run_dir, out, terminal, key)


def memory_of(folder: LabFolder) -> PeakMemory:
    """Return what measures the memory of a lab's machines and of this process."""
    return PeakMemory(folder.tag)


@dataclass
class _Ending:
    passed: bool = False


@contextmanager
def _taken_down(home: Home, lab_name: str, keep: Keep, terminal: Console, run_dir: Path) -> Iterator[_Ending]:
    """Take the lab down at the end of the block, also after Ctrl-C or SIGTERM, unless it is to be kept."""
    ending, ledger = _Ending(), Ledger(run_dir / LEDGER_FILE)
    try:
        yield ending
    finally:
        if keep.keeps(passed=ending.passed):
            terminal.print(f"machines are kept: lab status, lab ssh MACHINE --name {lab_name}, lab down {lab_name}")
        else:
            with _phase(ledger, "removal"), ConsoleBoard(terminal, f"lab {lab_name}") as board:
                tear_down(home, lab_name, board, reports=run_dir)
            _record_drift(ledger, run_dir)


def _record_drift(ledger: Ledger, run_dir: Path) -> None:
    """Put what was not as it was found on lent machines into the ledger, and so into the certificate."""
    for report in sorted(run_dir.glob(drift_report(Path(), "*").name)):
        lines = report.read_text(encoding="utf-8").splitlines()
        changes = 0 if lines == [NOTHING] else len(lines)
        name = report.stem.removeprefix("drift-")
        context = f"things on the lent machine {name} that were not as they were found, see {report.name}"
        _measure(ledger, f"drift-{name}", float(changes), "changes", context)


def _up_and_test(
    topology: Topology,
    home: Home,
    lab_name: str,
    terminal: Console,
    *,
    run_dir: Path,
    pytest_arguments: Sequence[str],
    make: MakeLab,
) -> int:
    """Return pytest's exit code; a lab that does not come up is recorded and ends the run."""
    ledger = Ledger(run_dir / LEDGER_FILE)
    try:
        with _phase(ledger, "machines"), ConsoleBoard(terminal, f"lab {lab_name}") as board:
            lab = make(topology, home, lab_name, board)
            record_origin(ledger, lab.state)
            lab.close()
    except (LabError, TimeoutError) as error:
        terminal.print(str(error), style="red", markup=False)
        (run_dir / "not-up.txt").write_text(f"{error}\n", encoding="utf-8")
        return NOT_UP
    command = [
        sys.executable, "-m", "pytest", str(SUITES), "--topology", str(topology.source), "--lab", lab_name,
        "--run-dir", str(run_dir.resolve()), f"--junitxml={run_dir.resolve() / JUNIT_FILE}",
        f"--alluredir={run_dir.resolve() / ALLURE_FOLDER}",
        "-p", "no:cacheprovider", "-v", *pytest_arguments,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    # Of its own: other runs of pytest by this user remove the oldest of the common folders, and a run takes long.
    with tempfile.TemporaryDirectory(prefix="recovery-lab-suites-") as scratch:
        command.append(f"--basetemp={scratch}/pytest")
        with _phase(ledger, "suites"), subprocess.Popen(command, cwd=SUITES.parent, env=environment) as child:
            return exit_code_of(child)


@contextmanager
def _phase(ledger: Ledger, name: str) -> Iterator[None]:
    """Record how long the block took, however it ends."""
    began = time.monotonic()
    try:
        yield
    finally:
        seconds = time.monotonic() - began
        ledger.record(EventKind.PHASE, "lab run", f"{name} took {seconds:.1f} s", {"name": name, "seconds": seconds})


def _own_cpu_seconds() -> float:
    """Return what this process and those that it waited for have computed."""
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def record_origin(ledger: Ledger, state: LabState) -> None:
    """Record whether the machines were booted for this run or went on from a saved lab."""
    origin = "booted for this run"
    if state.went_on is not None:
        taken = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(state.went_on.taken_ns // 10**9))
        origin = f"went on from saved lab {state.went_on.key}, taken {taken} UTC"
        if state.went_on.renewed:
            origin += f"; this build of the stack was installed over {state.went_on.renewed[:12]}"
    ledger.record(EventKind.ENVIRONMENT, "lab run", f"machines: {origin}", {"machines": origin})


def _measure(ledger: Ledger, name: str, value: float, unit: str, context: str) -> None:
    data = {"name": name, "value": value, "unit": unit, "n": 1, "context": context, "samples": []}
    ledger.record(EventKind.MEASUREMENT, "lab run", f"{name} measured", data)


def _keep_artifacts(topology: Topology, home: Home, lab_name: str, run_dir: Path) -> None:
    """Save consoles, journals and stack logs before the machines go."""
    try:
        lab = open_lab(home, lab_name, topology)
    except LabError:
        return
    try:
        collect(lab, run_dir / "machines")
    finally:
        lab.close()


def _remember(certificate: Certificate, terminal: Console) -> None:
    """Put the run into the history; a database that cannot be reached costs no run its certificate."""
    try:
        with History.opened(history_url(Home.default().folder)) as history:
            history.add(RunRecord.of_certificate(json.loads(as_json(certificate))))
    except LabError as error:
        terminal.print(f"not in the history: {error}", style="yellow", markup=False, soft_wrap=True)


def _certify(run_dir: Path, out: Path, terminal: Console, key: Ed25519PrivateKey) -> Outcome:
    certificate = write_certificate(run_dir, catalogue_of(run_dir))
    try:
        write_pdf(run_dir)
    except OSError as error:
        terminal.print(f"no PDF: {error}", style="yellow", markup=False, soft_wrap=True)
    signer = seal(run_dir, certificate, key)
    _remember(certificate, terminal)
    latest = out / "latest"
    latest.unlink(missing_ok=True)
    latest.symlink_to(run_dir.name)
    verdict, page = certificate.verdict.value, run_dir / HTML_FILE
    terminal.print(f"verdict: [bold]{verdict}[/]\ncertificate: {page}\nevidence: signed with {signer}", soft_wrap=True)
    return Outcome(verdict, page, passed=verdict == "pass")
