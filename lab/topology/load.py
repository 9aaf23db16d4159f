"""Topology files: read, typed, cross-checked. Every error is reported, each with its line."""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lab.documents import Document, Problem, read_document
from lab.errors import BadInput
from lab.topology.model import Topology
from lab.topology.rules import check
from lab.topology.schema import keys_at, topology_schema


def load_topology(path: Path) -> Topology:
    """Read and check a topology file.

    Raises:
        BadInput: the file is unreadable or wrong; the message has one ``file:line: message`` line for each error.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8 text"
        raise BadInput(f"{path}: {reason}") from error
    document = read_document(text)
    topology, problems = _check(document, path) if document.data is not None else (None, [])
    problems = [*document.problems, *problems]
    if problems or topology is None:
        ordered = sorted(set(problems), key=lambda problem: (problem.line, problem.message))
        raise BadInput("\n".join(f"{path}:{problem.line}: {problem.message}" for problem in ordered))
    return topology


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``, did you mean 'x'?`` for the closest known word, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f", did you mean '{close[0]}'?" if close else ""


def _check(document: Document, source: Path) -> tuple[Topology | None, list[Problem]]:
    """Return the topology if its shape is right, and all problems.

    Unknown keys do not hide what else is wrong: the cross checks run without them.
    """
    problems: list[Problem] = []
    data = document.data
    try:
        topology = Topology.model_validate(data, context=source)
    except ValidationError as error:
        details = error.errors(include_url=False, include_input=True)
        problems = [_problem(detail, document) for detail in details]
        if any(detail["type"] != "extra_forbidden" for detail in details):
            return None, problems
        topology = Topology.model_validate(_without(data, details, document), context=source)
    for finding in check(topology):
        hint = did_you_mean(finding.word, finding.known) if finding.word else ""
        problems.append(Problem(document.line_of(finding.location), finding.message + hint))
    return topology, problems


def _without(data: Any, details: Iterable[ErrorDetails], document: Document) -> Any:
    pruned = copy.deepcopy(data)
    for detail in details:
        *parents, key = document.known(detail["loc"])
        part = pruned
        for step in parents:
            part = part[step]
        part.pop(key, None)
    return pruned


def _problem(detail: ErrorDetails, document: Document) -> Problem:
    known = document.known(detail["loc"])
    where = ".".join(str(step) for step in known)
    name = str(detail["loc"][-1]) if detail["loc"] else ""
    line = document.line_of(known)
    if detail["type"] == "missing":
        return Problem(line, f"'{name}' is missing" + (f" in {where}" if where else ""))
    if detail["type"] == "extra_forbidden":
        hint = did_you_mean(name, keys_at(topology_schema(), known[:-1]))
        return Problem(line, f"'{name}' is not a key of {'.'.join(str(s) for s in known[:-1]) or 'a topology'}{hint}")
    if name == "[key]":
        return Problem(line, f"{where} is not a name: lower case letters, digits and dashes, at most 31")
    message = detail["msg"].removeprefix("Value error, ")
    return Problem(line, f"{where}: {message[:1].lower()}{message[1:]}{_suggestion(detail)}")


def _suggestion(detail: ErrorDetails) -> str:
    expected = detail.get("ctx", {}).get("expected") or detail.get("ctx", {}).get("expected_tags")
    given = detail.get("input")
    if isinstance(given, dict):
        given = given.get("kind")
    if not isinstance(expected, str) or not isinstance(given, str):
        return ""
    return did_you_mean(given, re.findall(r"'([^']+)'", expected))
