"""The certificate as PDF, from the very HTML that the browser shows."""

from __future__ import annotations

from pathlib import Path

from reports.durable import replace_file


def pdf_of(html: str) -> bytes:
    """Return a PDF of a certificate; nothing is fetched. The same HTML and version of WeasyPrint give the same bytes.

    Raises:
        OSError: Pango, which WeasyPrint draws with, is not installed.
    """
    from weasyprint import HTML
    from weasyprint.urls import URLFetcher

    nobody = URLFetcher(allowed_protocols=(), allow_redirects=False)
    document: bytes = HTML(string=html, url_fetcher=nobody).write_pdf()
    return document


def write_pdf(run_dir: Path) -> Path:
    """Write ``certificate.pdf`` beside ``certificate.html``. Raises OSError."""
    from reports.certificate import HTML_FILE, PDF_FILE

    replace_file(run_dir / PDF_FILE, pdf_of((run_dir / HTML_FILE).read_text(encoding="utf-8")))
    return run_dir / PDF_FILE
