"""``lab sensitivity``: would the tests notice? Each seeded defect against the tests that should."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from lab.commands.terminal import console as terminal
from lab.commands.terminal import plain_table
from lab.errors import BadInput, LabError

if TYPE_CHECKING:
    from lab.defects.matrix import Matrix
    from lab.defects.model import Defect
    from lab.defects.probing import Probed

Ordered = TypeVar("Ordered")


def register(app: typer.Typer) -> None:
    """Add the command of this family."""
    app.command()(sensitivity)


def sensitivity(  # noqa: PLR0917 - typer's options are its parameters
    topology: Annotated[Path | None, typer.Argument(help="Topology whose suites run, once for each defect.")] = None,
    fast: Annotated[bool, typer.Option("--fast", help="Only what needs no machine: parts in one process.")] = False,
    only: Annotated[list[str] | None, typer.Option(help="Only this defect; may be given again.")] = None,
    every: Annotated[bool, typer.Option("--all", help="On a lab also the defects that --fast can try.")] = False,
    clean: Annotated[int, typer.Option(min=1, help="How many times the stack without a defect is tried.")] = 1,
    exhaustive: Annotated[bool, typer.Option("--exhaustive", help="Run all tests, also after one failed.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes side by side; all cores by default.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where a run of the same build was ended.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Seed defects into copies of the reference stack and see which tests notice; exit code 1 when one survives.

    On a lab each defect starts from a saved lab, and only tests of the rules that it breaks run. Results are kept for
    the certificates of later runs of the same build. Each is also kept by itself as it comes, in sensitivity.jsonl in
    the lab's home, so that a run that was ended goes on with --resume.
    """
    from lab.defects.matrix import judge
    from lab.defects.patching import require_fit
    from lab.defects.registry import DEFECTS, defect
    from lab.requirements import load_catalogue
    from lab.runs import stack_build

    if fast == (topology is not None):
        raise BadInput("either --fast, or a topology whose suites are to run on a lab")
    if every and (fast or only):
        raise BadInput("--all is for labs, where only the defects that need machines are tried without it or --only")
    chosen = [defect(name) for name in only or ()] or [item for item in DEFECTS if fast or every or item.needs_machines]
    require_fit(chosen)
    kept = _Kept(stack_build(), resume=resume)
    try:
        done = (
            _fast(kept, chosen, clean, exhaustive, workers)
            if topology is None
            else _lab(kept, topology, chosen, clean, exhaustive)
        )
    except KeyboardInterrupt:
        kept.say_how_to_go_on()
        raise
    matrix = judge(chosen, done)
    how = "probes of its parts in one process" if topology is None else f"the suites on {topology.name}"
    rules = load_catalogue().beyond_defects
    document = matrix.to_json(rules, stack_build(), how)
    if topology is not None or not only:
        document = _together(document, rules)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        _show(matrix, None if only else document["why_unproven"])
    if not matrix.passed:
        raise LabError("a defect was not noticed, or the stack without one gave an alarm")


class _Kept:
    """The results of one command: kept in the lab's home and told of on stderr, each as it comes."""

    def __init__(self, build: str, *, resume: bool) -> None:
        from rich.console import Console

        from lab.defects.journal import FILE, Journal
        from lab.home import home

        self._file = home() / FILE
        self._journal = Journal(self._file, build)
        self._resume = resume
        self._stderr = Console(stderr=True, soft_wrap=True, highlight=False)
        self._count = self._total = 0
        self._found: Callable[[], int] = lambda: 0

    def begin(self, orders: Sequence[Ordered], basis: Callable[[Ordered], str]) -> tuple[list[Probed], list[Ordered]]:
        """Return the results that are known already, and the orders that are left."""
        from lab.defects.journal import split

        names = {basis(order) for order in orders}
        known = self._journal.begin(names, resume=self._resume)
        self._found = lambda: len(split(orders, basis, self._journal.known(names))[0])
        done, left = split(orders, basis, known)
        self._total, self._count = len(orders), len(done)
        if self._resume:
            self.say(f"{len(done)} results of this build are kept from before, {len(left)} runs are left")
        return done, left

    def add(self, order: str, probed: Probed) -> Probed:
        """Keep and tell a result, and return it."""
        self._journal.record(order, probed)
        self._count += 1
        self.say(f"{self._count} of {self._total}: {_in_words(probed)}")
        return probed

    def say(self, text: str, style: str = "") -> None:
        """Print to stderr: stdout is for the result."""
        self._stderr.print(text, style=style, markup=False)

    def say_how_to_go_on(self) -> None:
        """Say what is not lost: what is in the file. A signal may come between writing a result and counting it."""
        self.say(f"{self._found()} of {self._total} results are kept in {self._file}; the same with --resume goes on")


def _in_words(probed: Probed) -> str:
    """Return what a run showed, in one line."""
    found = [f"{test.partition('::')[2] or test}: {probed.results[test]}" for test in probed.noticed_by]
    if probed.defect is None:
        return f"no defect: {len(probed.results)} tests, " + ("; ".join(found) if found else "no alarm")
    if found:
        return f"{probed.defect}: noticed by {found[0]}"
    return f"{probed.defect}: " + ("equivalent: every image is the oracle's" if probed.equivalent else "NOT NOTICED")


def _fast(kept: _Kept, chosen: Sequence[Defect], clean: int, exhaustive: bool, workers: int | None) -> list[Probed]:
    from lab.defects.basis import of_probes
    from lab.defects.probing import orders_for, probe

    orders = orders_for([item for item in chosen if not item.needs_machines], clean_runs=clean, exhaustive=exhaustive)
    done, left = kept.begin(orders, of_probes)
    basis = {order.defect: of_probes(order) for order in left}
    return done + [kept.add(basis[found.defect], found) for found in probe(left, workers or os.cpu_count() or 1)]


def _lab(kept: _Kept, topology: Path, chosen: Sequence[Defect], clean: int, exhaustive: bool) -> list[Probed]:
    """Return what came of each run; a defect of which nothing can be said is left out, with its reason on stderr."""
    from lab.defects.basis import of_lab
    from lab.defects.lab_runs import LabOrder, orders_on_lab, run_on_lab

    def basis(order: LabOrder) -> str:
        return of_lab(order, topology)

    done, left = kept.begin(orders_on_lab(chosen, clean_runs=clean, exhaustive=exhaustive), basis)
    for order in left:
        try:
            done.append(kept.add(basis(order), run_on_lab(topology, order)))
        except LabError as error:
            if order.defect is None:
                raise
            kept.say(f"not tried: {error}", style="yellow")
    return done


def _together(document: dict[str, Any], rules: Mapping[str, str]) -> dict[str, Any]:
    """Put a result beside what is known of this build, for certificates, and return all of it."""
    from lab.defects.results import merged
    from lab.home import home
    from lab.runs import SENSITIVITY_FILE
    from reports.durable import replace_file

    file = home() / SENSITIVITY_FILE
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = None
    together = merged(known if isinstance(known, dict) else None, document, rules)
    home().mkdir(parents=True, exist_ok=True)
    replace_file(file, json.dumps(together, indent=1))
    return together


def _show(matrix: Matrix, unproven: Mapping[str, str] | None) -> None:
    """Print the matrix; ``unproven`` is None where only some defects were tried, which says nothing of other rules."""
    console = terminal()
    table = plain_table("defect", "part", "breaks", "noticed by")
    for row in matrix.rows:
        by = "\n".join(test.partition("::")[2] or test for test in row.caught_by)
        if not row.ran:
            by = "[dim]not run[/]"
        elif row.equivalent:
            by = "equivalent: every image is the oracle's"
        elif row.survived:
            by = "[bold red]nothing[/]"
        table.add_row(row.defect.name, row.defect.part.value, " ".join(row.defect.requirements), by)
    console.print(table)
    ran = [row for row in matrix.rows if row.ran]
    caught, equal = sum(bool(row.caught_by) for row in ran), sum(row.equivalent for row in ran)
    missed = len(ran) - caught - equal
    console.print(f"\n{len(ran)} defects tried: {caught} noticed, {equal} equivalent, {missed} not noticed")
    for test, problem in matrix.false_alarms.items():
        console.print(f"false alarm: {test}: {problem}", style="red", markup=False)
    if len(ran) < len(matrix.rows):
        console.print(f"{len(matrix.rows) - len(ran)} were not run: they need machines, or tests that are not here")
    if unproven is None:
        console.print(f"{len(matrix.proven)} rules proven by a defect")
        return
    console.print(f"{len(matrix.proven)} rules proven by a defect, {len(unproven)} unproven{':' if unproven else ''}")
    for rule, why in unproven.items():
        console.print(f"unproven: {rule}: {why}", markup=False, soft_wrap=True)
