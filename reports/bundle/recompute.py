"""What the raw files of a run say, against what its certificate and its other reports say.

A signature shows who vouches for the bytes. This shows that the bytes agree with each other, whoever signed them.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from lab.errors import LabError
from lab.ledger import EventKind, LedgerError, read_ledger
from lab.oracle.cases import VERDICT, CaseDamaged, cases_in, judge_again
from lab.runs import ALLURE_FOLDER, JUNIT_FILE, LEDGER_FILE
from reports.bundle.finding import Finding
from reports.bundle.seal import SEAL_FILE, makers
from reports.bundle.versions import shared
from reports.certificate import HTML_FILE, JSON_FILE, as_json, catalogue_of, make_certificate
from reports.html import render
from reports.model import Certificate, TestResult

COMPARED = ("verdict", "reasons", "requirements", "tests", "measurements", "scenarios", "stand_ins", "environment")
"""What two versions of the lab have to agree on; the rest of the document may have grown between them."""
_ALLURE = {"passed": "passed", "failed": "failed", "broken": "error", "skipped": "skipped"}
_SHOWN = 20


def recompute(run_dir: Path, made_by: Mapping[str, str]) -> Iterator[Finding]:
    """Yield what does not follow from the ledger and the raw histories. ``made_by``: ``seal.makers`` of its maker."""
    try:
        certificate = make_certificate(run_dir, catalogue_of(run_dir))
    except LedgerError as error:
        yield Finding(LEDGER_FILE, f"cannot be believed: {error}")
        return
    except LabError as error:
        yield Finding(JSON_FILE, f"cannot be recomputed: {error}")
        return
    if made_by.get("verdict", certificate.verdict.value) != certificate.verdict.value:
        yield Finding(SEAL_FILE, f"says {made_by['verdict']}, the ledger gives {certificate.verdict.value}")
    yield from _certificate(run_dir, certificate, same=same_makers(made_by))
    yield from _junit(run_dir, certificate.tests)
    yield from _allure(run_dir, certificate.tests)
    yield from _oracle(run_dir)


def same_makers(made_by: Mapping[str, str]) -> bool:
    """Whether this lab would write the very same bytes: else ``certificate.html`` is checked by its digest only."""
    ours = makers()
    return all(made_by.get(name) == ours[name] for name in ours)


def _certificate(run_dir: Path, certificate: Certificate, *, same: bool) -> Iterator[Finding]:
    recomputed = as_json(certificate)
    try:
        text = (run_dir / JSON_FILE).read_text(encoding="utf-8")
        told = json.loads(text)
        differences = list(_differences(told, json.loads(recomputed), same=same))
    except (OSError, ValueError, AttributeError, TypeError, KeyError) as error:
        yield Finding(JSON_FILE, f"cannot be read: {error}")
        return
    yield from (Finding(JSON_FILE, text) for text in differences[:_SHOWN])
    if not same:
        return
    if not differences and text != recomputed:
        yield Finding(JSON_FILE, "is not what the ledger gives")
    html = run_dir / HTML_FILE
    if not html.is_file() or html.read_bytes() != render(certificate).encode():
        yield Finding(HTML_FILE, "is not what the ledger gives")


def _differences(told: Mapping[str, Any], found: Mapping[str, Any], *, same: bool) -> Iterator[str]:
    for part in COMPARED:
        if isinstance(found[part], list):
            yield from _differing_rows(part, told.get(part), found[part], same=same)
        elif told.get(part) != found[part]:
            yield f"{part}: says {_short(told.get(part))}, the ledger gives {_short(found[part])}"


def _differing_rows(part: str, told: Any, found: Sequence[Any], *, same: bool) -> Iterator[str]:
    if not isinstance(told, list):
        yield f"{part}: not a list"
        return
    if not same and part != "reasons":
        told, found = shared(told, found)
    said, known = Counter(map(_row, told)), Counter(map(_row, found))
    for row in (said - known).elements():
        yield f"{part}: says {_short(json.loads(row))}, which the ledger does not give"
    for row in (known - said).elements():
        yield f"{part}: leaves out {_short(json.loads(row))}"


def _row(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _short(value: Any) -> str:
    """Return the part of a row that names it."""
    if isinstance(value, Mapping):
        keys = ("id", "nodeid", "name", "status", "outcome", "value", "unit", "what", "verdict", "passed", "failed")
        value = {key: value[key] for key in keys if key in value} or value
    text = json.dumps(value, sort_keys=True)
    return text if len(text) <= 300 else f"{text[:300]}..."  # noqa: PLR2004 - as much as a reader takes in


def _junit(run_dir: Path, tests: Sequence[TestResult]) -> Iterator[Finding]:
    path = run_dir / JUNIT_FILE
    if not path.is_file():
        return
    try:
        cases = list(ET.fromstring(_plain_xml(path)).iter("testcase"))  # noqa: S314 - no entities, see _plain_xml
    except (OSError, ET.ParseError, ValueError) as error:
        yield Finding(JUNIT_FILE, f"cannot be read: {error}")
        return
    # A test that fails and whose teardown fails too is two cases: the worse one counts.
    said: dict[str, str] = {}
    for case in cases:
        name = f"{case.get('classname', '')}::{case.get('name', '')}"
        said[name] = max(said.get(name, "passed"), _junit_outcome(case), key=_RANK.__getitem__)
    known = {_junit_name(test.nodeid): test.outcome for test in tests}
    if not _came_to_its_end(run_dir):
        # What pytest was doing when it was interrupted is an error in the ledger, and not in JUnit.
        known = {name: outcome for name, outcome in known.items() if outcome != "error" or name in said}
    yield from _compare(JUNIT_FILE, said, known)


def _came_to_its_end(run_dir: Path) -> bool:
    """Whether pytest itself ended the run: all tests done, some of them perhaps failed."""
    ends = [event.data.get("exit_code") for event in read_ledger(run_dir / LEDGER_FILE)[-1:]]
    return bool(ends) and ends[0] in {0, 1}


_RANK = {"passed": 0, "skipped": 1, "error": 2, "failed": 3}


def _plain_xml(path: Path) -> bytes:
    content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise ValueError("it declares entities, which pytest never does")
    return content


def _junit_outcome(case: ET.Element) -> str:
    for tag, outcome in (("failure", "failed"), ("error", "error"), ("skipped", "skipped")):
        if case.find(tag) is not None:
            return outcome
    return "passed"


def _junit_name(nodeid: str) -> str:
    """Return what pytest makes of a node id in JUnit: a dotted class name, and the name with its parameters."""
    path, bracket, parameters = nodeid.partition("[")
    file, *place = path.split("::")
    names = [file.removesuffix(".py").replace("/", "."), *place]
    return f"{'.'.join(names[:-1])}::{names[-1]}{bracket}{parameters}"


def _allure(run_dir: Path, tests: Sequence[TestResult]) -> Iterator[Finding]:
    folder = run_dir / ALLURE_FOLDER
    if not folder.is_dir():
        return
    said: Counter[str] = Counter()
    for path in sorted(folder.glob("*-result.json")):
        try:
            result = json.loads(path.read_text(encoding="utf-8"))
            said[_ALLURE.get(result["status"], result["status"])] += 1
        except (OSError, ValueError, KeyError, TypeError) as error:
            yield Finding(f"{ALLURE_FOLDER}/{path.name}", f"cannot be read: {error}")
    known = Counter(test.outcome for test in tests)
    for outcome in ("failed", "passed"):
        if said[outcome] > known[outcome]:
            text = f"has {said[outcome]} results that {outcome}, the ledger {known[outcome]}"
            yield Finding(ALLURE_FOLDER, text)


def _oracle(run_dir: Path) -> Iterator[Finding]:
    judged = set()
    for case in cases_in(run_dir):
        place = case.relative_to(run_dir).as_posix()
        try:
            again = judge_again(case)
            told = (case / VERDICT).read_text(encoding="utf-8")
        except (CaseDamaged, OSError, ValueError) as error:
            yield Finding(place, f"cannot be judged again: {error}")
            continue
        judged.add(again)
        if told != again:
            yield Finding(f"{place}/{VERDICT}", "is not the verdict that the raw histories give")
    if not judged:
        return
    for event in read_ledger(run_dir / LEDGER_FILE):
        for item in event.data.get("evidence", ()) if event.kind is EventKind.TEST else ():
            if not str(item["name"]).endswith("verdict.json"):
                continue
            path = run_dir / str(item["path"])
            if path.is_file() and path.read_text(encoding="utf-8", errors="replace") not in judged:
                yield Finding(str(item["path"]), "is a verdict that no raw history of this run gives")


def _compare(name: str, said: Mapping[str, str], known: Mapping[str, str]) -> Iterator[Finding]:
    for test in sorted(said.keys() - known.keys()):
        yield Finding(name, f"has {test} ({said[test]}), which the ledger does not know")
    for test in sorted(known.keys() - said.keys()):
        yield Finding(name, f"does not have {test}, which the ledger has as {known[test]}")
    for test in sorted(said.keys() & known.keys()):
        if said[test] != known[test]:
            yield Finding(name, f"says that {test} {said[test]}, the ledger that it {known[test]}")
