"""Makes the certificate of an earlier run again, without vouching for files that changed since it was sealed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lab.errors import LabError
from reports.bundle.envelope import NoEnvelope, read
from reports.bundle.seal import SEAL_FILE, files_in, seal
from reports.certificate import HTML_FILE, JSON_FILE, PDF_FILE, catalogue_of, write_certificate
from reports.model import Certificate
from reports.pdf import write_pdf

REMADE = {JSON_FILE, HTML_FILE, PDF_FILE}


class ChangedSinceSealed(LabError):
    """Files of a sealed run are not those that were signed."""


def certify_again(run_dir: Path, key: Callable[[], Ed25519PrivateKey]) -> Certificate:
    """Write certificate and seal of a run.

    Raises:
        BadInput: this is not the folder of a run.
        LedgerError: the ledger is damaged.
        ChangedSinceSealed: something that this does not make itself was changed; nothing is written.
    """
    if (run_dir / SEAL_FILE).is_file():
        _refuse_changes(run_dir)
    certificate = write_certificate(run_dir, catalogue_of(run_dir))
    if (run_dir / PDF_FILE).exists():
        write_pdf(run_dir)
    seal(run_dir, certificate, key())
    return certificate


def _refuse_changes(run_dir: Path) -> None:
    hint = "lab verify says what; it will not be signed again"
    try:
        sealed = read((run_dir / SEAL_FILE).read_bytes())
    except NoEnvelope as error:
        raise ChangedSinceSealed(f"{run_dir / SEAL_FILE}: {error}", hint=hint) from error
    signed = {file for file in sealed.statement.files if file.path not in REMADE}
    found = {file for file in files_in(run_dir) if file.path not in REMADE}
    if not sealed.genuine or signed != found:
        raise ChangedSinceSealed(f"{run_dir}: files are not those that were sealed", hint=hint)
