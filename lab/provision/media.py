"""Boot media over HTTPS on loopback, for as long as machines are installed from them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from werkzeug.exceptions import NotFound
from werkzeug.utils import send_from_directory
from werkzeug.wrappers import Request, Response

from lab.emulators.common.wsgi import WsgiFront

COMMON_NAME = "recovery-lab-media"


@dataclass(frozen=True)
class MediaFolder:
    """Where media are (``files``), and the certificate of who serves them."""

    path: Path

    @property
    def files(self) -> Path:
        """Everything in here is served."""
        return self.path / "files"

    @property
    def certificate(self) -> Path:
        """What a BMC trusts that fetches a medium; it is there as long as they are served."""
        return self.path / "tls" / "certificate.pem"


@dataclass(frozen=True)
class FilesApplication:
    """Serves the files of a folder, whole or in part; there is no list of them (WSGI)."""

    folder: Path

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return Response(status=HTTPStatus.METHOD_NOT_ALLOWED)
        try:
            return send_from_directory(self.folder, request.path.lstrip("/"), request.environ)
        except NotFound:
            return Response(status=HTTPStatus.NOT_FOUND)


@contextmanager
def served(folder: MediaFolder) -> Iterator[str]:
    """Serve the media inside the block and give the URL that their paths in ``files`` are appended to."""
    for part in (folder.files, folder.certificate.parent):
        part.mkdir(mode=0o700, parents=True, exist_ok=True)
    front = WsgiFront(FilesApplication(folder.files), folder.certificate.parent, COMMON_NAME).start()
    try:
        yield front.url
    finally:
        front.close()
