"""Runs the probes on the stack as it is and with each defect, every time in a process of its own.

A process is forked from one that has the libraries loaded and nothing of the stack, so it costs little more than its
probes. The stack is patched while it is imported. Probes that carry a rule that the defect breaks come first; the rest
of its part's probes run only if none of those has noticed anything.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from lab.defects.model import Defect, Part
from lab.defects.patience import patience
from lab.defects.registry import PROBES
from lab.defects.scratch import remove_abandoned
from lab.interrupts import held_back

SECONDS = 600.0
"""For all probes of one process, until the next of those side by side ends; on an idle computer."""
JOIN_S = 10.0
_LIBRARIES = (
    *("pytest", "pytest_timeout", "pytest_asyncio.plugin", "_hypothesis_pytestplugin", "hypothesis.stateful", "rich"),
    *("aiohttp.web", "httpx", "httpcore", "cryptography.x509", "bcrypt", "zstandard", "sqlite3", "azure.storage.blob"),
)


@dataclass(frozen=True)
class Order:
    """What a process has to do: probe files, the defect to put in, whether to run all of them in any case."""

    defect: str | None
    files: tuple[str, ...]
    exhaustive: bool = False


@dataclass(frozen=True)
class Probed:
    """What the probes said in one process: by test what was wrong, empty when nothing was; times in s.

    ``cpu_seconds`` are of a process of probes, ``seconds`` of a whole run on a lab.
    """

    defect: str | None
    results: dict[str, str] = field(default_factory=dict)
    requirements: dict[str, tuple[str, ...]] = field(default_factory=dict)
    cpu_seconds: float = 0.0
    equivalent: bool = False
    """The oracle's image says that the defect leaves the same disks, and its lines did run."""
    seconds: float = 0.0

    @property
    def noticed_by(self) -> list[str]:
        """The probes that failed."""
        return [test for test, problem in self.results.items() if problem]


def orders_for(defects: Iterable[Defect], *, clean_runs: int, exhaustive: bool = False) -> list[Order]:
    """Return the clean runs, and one order for each defect, of the probes that run its part.

    The clean stack is held against every probe that one of the defects is held against.
    """
    chosen = list(defects)
    parts = {item.part for item in chosen}
    every = tuple(dict.fromkeys(file for part in Part if part in parts for file in PROBES[part]))
    return [Order(None, every, exhaustive=True)] * clean_runs + [
        Order(item.name, PROBES[item.part], exhaustive) for item in chosen
    ]


def probe(orders: Sequence[Order], workers: int) -> Iterator[Probed]:
    """Run orders, ``workers`` at a time, and yield what came of each as it ends.

    Raises:
        RuntimeError: this process has loaded the stack already, so that nothing could be put in any more.
    """
    loaded = sorted(name for name in sys.modules if name.startswith("lab.replication"))
    if loaded:
        raise RuntimeError(f"the stack is loaded already: {loaded[0]}")
    for name in _LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    remove_abandoned()
    running: list[_Running] = []
    waiting = list(orders)
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                running.append(_start(waiting.pop(0)))
            ready = wait([one.answers for one in running], SECONDS * patience())
            ended = next((one for one in running if one.answers in ready), running[0])
            running.remove(ended)
            yield _finish(ended, answered=bool(ready))
    finally:
        for left in running:
            left.process.kill()


@dataclass(frozen=True)
class _Running:
    order: Order
    process: BaseProcess
    answers: Connection


def _start(order: Order) -> _Running:
    from lab.defects.prober import run

    context = multiprocessing.get_context("fork")
    answers, sender = context.Pipe(duplex=False)
    process = context.Process(target=run, args=(order, sender), name=f"probes of {order.defect}")
    with held_back():
        process.start()
    sender.close()
    return _Running(order, process, answers)


def _finish(running: _Running, *, answered: bool) -> Probed:
    try:
        if not answered:
            return Probed(running.order.defect, {"(process)": f"no answer within {SECONDS * patience():.0f} s"})
        answer: Probed = running.answers.recv()
    except EOFError:
        return Probed(running.order.defect, {"(process)": "it died"})
    else:
        return answer
    finally:
        running.answers.close()
        running.process.join(JOIN_S)
        if running.process.is_alive():
            running.process.kill()
            running.process.join(JOIN_S)
