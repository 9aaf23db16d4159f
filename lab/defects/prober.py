"""What happens in a process of probes: the defect is put in, pytest runs, the results go back through a pipe."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from lab.defects.lines import Lines
from lab.defects.model import Defect
from lab.defects.patching import ROOT, patch_imports
from lab.defects.patience import patience
from lab.defects.probing import Order, Probed
from lab.defects.registry import FOLDER, IMAGE_PROBES
from lab.defects.registry import defect as find_defect
from lab.defects.scratch import new_scratch
from lab.interrupts import let_in

TEST_SECONDS = 90
"""On an idle computer, like the next."""
IMAGE_SECONDS = 300
"""A tracer looks at every line meanwhile."""
PLUGINS = ("pytest_timeout", "pytest_asyncio.plugin", "_hypothesis_pytestplugin")
_LONGEST = 300
_PR_SET_PDEATHSIG = 1


def run(order: Order, answers: Connection) -> None:
    """Do an order in this process, which ends with it whatever threads a broken stack has left behind."""
    die_with_parent()
    # Ctrl-C is for the command: half of the results of a defect would look like all of them.
    os.setpgid(0, 0)
    let_in()
    scratch = new_scratch()
    try:
        answers.send(_probed(order, scratch))
    finally:
        answers.close()
        shutil.rmtree(scratch, ignore_errors=True)
        os._exit(0)


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that forked it is gone: nobody would hear of its results."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _probed(order: Order, scratch: Path) -> Probed:
    began = time.process_time()
    with (scratch / "output.txt").open("w") as output:
        # The output of pytest and of services belongs to nobody: what was wrong is in the results.
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    defect = find_defect(order.defect) if order.defect else None
    if defect is not None:
        patch_imports(defect)
    recorder = Recorder(defect, exhaustive=order.exhaustive)
    _pytest(scratch, [str(FOLDER / file) for file in order.files], recorder)
    equivalent = False
    if defect is not None and defect.on_disks and not any(recorder.results.values()):
        equivalent = _leaves_the_same_disks(defect, scratch, recorder)
    spent = time.process_time() - began
    return Probed(order.defect, recorder.results, recorder.requirements, spent, equivalent)


def _pytest(scratch: Path, files: list[str], recorder: Recorder, seconds: int = TEST_SECONDS) -> None:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    plugins = [word for name in (*PLUGINS, "no:cacheprovider") for word in ("-p", name)]
    # Fixtures of labs, which the project's root loads, are most of what would be imported, and no probe needs one.
    arguments = ["-q", *plugins, f"--rootdir={ROOT}", f"--confcutdir={ROOT / 'tests'}"]
    limits = [f"--timeout={seconds * patience():.0f}", f"--basetemp={scratch}/pytest", "-o", "filterwarnings=default"]
    code = pytest.main([*arguments, *limits, *files], plugins=[recorder])
    if not recorder.results:
        recorder.results["(collection)"] = f"pytest ended with {code!r}"


def _leaves_the_same_disks(defect: Defect, scratch: Path, recorder: Recorder) -> bool:
    """Whether the image of every recovery point is the oracle's, with other writes each time, while its lines ran."""
    lines = Lines(defect)
    images = Recorder(None, exhaustive=True)
    with lines.watched():
        _pytest(scratch, [str(FOLDER / IMAGE_PROBES)], images, IMAGE_SECONDS)
    recorder.results |= {test: problem for test, problem in images.results.items() if problem}
    recorder.requirements |= images.requirements
    return lines.ran and not any(images.results.values())


class Recorder:
    """A pytest plugin: orders the probes, stops when enough is known, keeps what each said.

    Enough is known when a probe has failed, and those that failed carry every rule that the defect breaks. A rule that
    no failed probe carries is looked for with all probes that carry it.
    """

    def __init__(self, defect: Defect | None, *, exhaustive: bool) -> None:
        self._broken = set(defect.requirements) if defect else set()
        self._exhaustive = exhaustive
        self.results: dict[str, str] = {}
        self.requirements: dict[str, tuple[str, ...]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Probes that carry most of the broken rules come first."""
        items.sort(key=lambda item: -len(self._declared(item)))

    def pytest_runtest_protocol(self, item: pytest.Item) -> bool | None:
        """Leave out a probe that can prove nothing more, once another has noticed something."""
        self.requirements[self._name(item.nodeid)] = tuple(self._ids(item))
        if self._exhaustive or not any(self.results.values()):
            return None
        return None if self._declared(item) - self._proven() else True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the first problem of set-up, call and teardown."""
        name = self._name(report.nodeid)
        problem = _problem(report) if report.failed else ""
        self.results[name] = self.results.get(name) or problem

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file of probes that does not even load has noticed something too."""
        if report.failed:
            self.results[self._name(report.nodeid)] = str(report.longreprtext)[-_LONGEST:]

    def _declared(self, item: pytest.Item) -> set[str]:
        return self._broken & set(self._ids(item))

    def _proven(self) -> set[str]:
        """The rules of the probes that have failed."""
        return {rule for test, problem in self.results.items() if problem for rule in self.requirements.get(test, ())}

    @staticmethod
    def _ids(item: pytest.Item) -> list[str]:
        return [str(name) for mark in item.iter_markers("requirement") for name in mark.args]

    @staticmethod
    def _name(nodeid: str) -> str:
        return nodeid.rpartition("/")[2]


def _problem(report: pytest.TestReport) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = str(getattr(crash, "message", report.longreprtext)).strip()
    return (text.splitlines() or ["failed"])[0][:_LONGEST] or "failed"
