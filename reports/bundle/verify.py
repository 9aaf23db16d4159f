"""Checks a bundle: whose signature it is, every file, and whether its verdict follows from its raw data. Offline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lab.errors import BadInput
from lab.runs import LEDGER_FILE
from reports.bundle.envelope import NoEnvelope, Sealed, SealedFile, read
from reports.bundle.finding import Finding
from reports.bundle.recompute import recompute, same_makers
from reports.bundle.seal import SEAL_FILE, UnsealableFile, files_in


@dataclass(frozen=True)
class Checked:
    """The result. ``key``: fingerprint of the signer; ``pinned``: it is the one that was asked for."""

    key: str | None
    pinned: bool
    run: str
    verdict: str
    files: int
    root: str
    html_recomputed: bool
    findings: tuple[Finding, ...]

    @property
    def genuine(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Return the result for programs."""
        return {**asdict(self), "genuine": self.genuine}


def check(folder: Path, key: str | None = None) -> Checked:
    """Check the folder of a run. ``key``: fingerprint of the only key that is accepted; None: any, which is named.

    Raises:
        BadInput: it is not the folder of a run at all.
    """
    if not (folder / SEAL_FILE).is_file():
        if not (folder / LEDGER_FILE).is_file():
            raise BadInput(f"{folder}: neither {SEAL_FILE} nor {LEDGER_FILE} here: not the evidence of a run")
        return _result(None, key, [Finding(SEAL_FILE, "is missing: nobody vouches for these files"), *_raw(folder)])
    try:
        sealed = read((folder / SEAL_FILE).read_bytes())
    except NoEnvelope as error:
        return _result(None, key, [Finding(SEAL_FILE, str(error)), *_raw(folder)])
    findings = [*_signature(sealed, key), *_files(folder, sealed.statement.files)]
    findings += recompute(folder, sealed.statement.about)
    return _result(sealed, key, findings)


def _signature(sealed: Sealed, key: str | None) -> Iterator[Finding]:
    if not sealed.genuine:
        yield Finding(SEAL_FILE, f"the signature is not that of key {sealed.key} over this list of files")
    if key is not None and sealed.key != key:
        yield Finding(SEAL_FILE, f"signed with key {sealed.key}, not with {key}")


def _files(folder: Path, signed: Sequence[SealedFile]) -> Iterator[Finding]:
    try:
        found = {file.path: file for file in files_in(folder)}
    except UnsealableFile as error:
        yield Finding(str(folder), str(error))
        return
    known = {file.path: file for file in signed}
    if len(known) != len(signed):
        yield Finding(SEAL_FILE, "names a file twice")
    for path in sorted(known.keys() - found.keys()):
        yield Finding(path, "was removed")
    for path in sorted(found.keys() - known.keys()):
        yield Finding(path, "was added")
    for path in sorted(found.keys() & known.keys()):
        if found[path] != known[path]:
            yield Finding(path, f"was changed: SHA-256 {found[path].sha256}, signed was {known[path].sha256}")


def _raw(folder: Path) -> Iterator[Finding]:
    return recompute(folder, {})


def _result(sealed: Sealed | None, key: str | None, findings: Sequence[Finding]) -> Checked:
    about = sealed.statement.about if sealed else {}
    return Checked(
        key=sealed.key if sealed else None,
        pinned=sealed is not None and sealed.key == key,
        run=about.get("run", ""),
        verdict=about.get("verdict", ""),
        files=len(sealed.statement.files) if sealed else 0,
        root=sealed.statement.root if sealed else "",
        html_recomputed=same_makers(about),
        findings=tuple(dict.fromkeys(findings)),
    )
