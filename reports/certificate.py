"""Write the certificate of a run from what lies in its folder. The only file here that reads or writes files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from xml.etree import ElementTree as ET

from lab.errors import BadInput
from lab.ledger import Event, EventKind, LedgerError, file_digest, read_ledger
from lab.requirements import CATALOGUE_FILE, Catalogue, load_catalogue
from lab.runs import CATALOGUE_COPY, JUNIT_FILE, LEDGER_FILE
from reports.durable import replace_file
from reports.fold import fold
from reports.html import render
from reports.model import Certificate, Evidence

JSON_FILE, HTML_FILE, PDF_FILE = "certificate.json", "certificate.html", "certificate.pdf"


def write_certificate(run_dir: Path, catalogue: Catalogue) -> Certificate:
    """Make ``certificate.json`` and ``certificate.html`` in ``run_dir`` from its ledger, JUnit file and evidence.

    Raises:
        BadInput: there is no ledger in ``run_dir``.
        LedgerError: the ledger is damaged or was changed.
    """
    certificate = make_certificate(run_dir, catalogue)
    replace_file(run_dir / JSON_FILE, as_json(certificate))
    replace_file(run_dir / HTML_FILE, render(certificate))
    return certificate


def make_certificate(run_dir: Path, catalogue: Catalogue) -> Certificate:
    """Return what the files of a run show, whatever its certificate says. Raises as ``write_certificate``."""
    ledger = run_dir / LEDGER_FILE
    if not ledger.is_file():
        raise BadInput(f"{run_dir}: no {LEDGER_FILE} here: not the folder of a run")
    events = read_ledger(ledger)
    try:
        certificate = fold(events, catalogue, [*_evidence_problems(run_dir, events), *_junit_problems(run_dir, events)])
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerError(f"{ledger}: an event has not the data that its kind needs: {error}") from error
    return _with_sources(certificate, run_dir)


def as_json(certificate: Certificate) -> str:
    """Return the text of ``certificate.json``."""
    return json.dumps(asdict(certificate), indent=2, sort_keys=True) + "\n"


def catalogue_of(run_dir: Path) -> Catalogue:
    """Return the catalogue that a run was judged by; of runs that did not keep it, today's. Raises BadInput."""
    kept = run_dir / CATALOGUE_COPY
    return load_catalogue(kept if kept.is_file() else CATALOGUE_FILE)


def _with_sources(certificate: Certificate, run_dir: Path) -> Certificate:
    """Add the files that the certificate itself was made from to its evidence."""
    sources = [run_dir / name for name in (LEDGER_FILE, JUNIT_FILE) if (run_dir / name).is_file()]
    own = tuple(Evidence(path.name, path.name, file_digest(path), path.stat().st_size, "the run") for path in sources)
    return Certificate(**{**vars(certificate), "evidence": (*own, *certificate.evidence)})


def _evidence_problems(run_dir: Path, events: list[Event]) -> list[str]:
    problems = []
    for event in events:
        for item in event.data.get("evidence", ()) if event.kind is EventKind.TEST else ():
            path = run_dir / item["path"]
            if not path.is_file():
                problems.append(f"evidence is missing: {item['path']}")
            elif file_digest(path) != item["sha256"]:
                problems.append(f"evidence was changed: {item['path']}")
    return problems


def _junit_problems(run_dir: Path, events: list[Event]) -> list[str]:
    path = run_dir / JUNIT_FILE
    if not path.is_file():
        return []
    try:
        suites = list(ET.parse(path).getroot().iter("testsuite"))  # noqa: S314 - pytest of this run wrote it
    except ET.ParseError:
        return [f"{JUNIT_FILE} cannot be read"]
    bad = sum(int(suite.get(key, "0")) for suite in suites for key in ("failures", "errors"))
    known = any(event.data.get("outcome") in {"failed", "error"} for event in events if event.kind is EventKind.TEST)
    return [f"{JUNIT_FILE} has failures that the ledger does not know"] if bad and not known else []
