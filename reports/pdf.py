"""The certificate as PDF, from the very HTML that the browser shows."""

from __future__ import annotations

from pathlib import Path


class NoNetwork(ValueError):
    """A certificate needs nothing from elsewhere; whatever asks for it is an error."""


def pdf_of(html: str) -> bytes:
    """Return a PDF of a certificate. The same HTML gives the same bytes with the same version of WeasyPrint.

    Raises:
        OSError: Pango, which WeasyPrint draws with, is not installed.
    """
    from weasyprint import HTML

    document: bytes = HTML(string=html, url_fetcher=_refuse).write_pdf()
    return document


def write_pdf(run_dir: Path) -> Path:
    """Write ``certificate.pdf`` beside ``certificate.html``. Raises OSError."""
    from reports.certificate import HTML_FILE, PDF_FILE
    from reports.durable import replace_file

    replace_file(run_dir / PDF_FILE, pdf_of((run_dir / HTML_FILE).read_text(encoding="utf-8")))
    return run_dir / PDF_FILE


def _refuse(url: str, *_: object, **__: object) -> None:
    raise NoNetwork(f"a certificate asks for {url}")
