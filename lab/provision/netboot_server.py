"""``python -m lab.provision.netboot_server ADDRESS FOLDER``: what machines that boot over a network fetch.

Over HTTP the files of ``FOLDER/files``, for firmware that knows no better; over TLS each machine's identity, once, for
the machine at its address that brings the right word.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar

from werkzeug.wrappers import Request, Response

from lab.emulators.common.wsgi import Wsgi, WsgiFront
from lab.provision.media import FilesApplication
from lab.waiting import EndOfService

COMMON_NAME = "recovery-lab-netboot"
WORD = re.compile(r"Bearer (?P<once>[A-Za-z0-9_-]{16,64})")
TAKEN = ".taken"


@dataclass(frozen=True)
class ServerFolder:
    """What is served, and the certificate of who does it."""

    path: Path
    HTTP_PORT: ClassVar[int] = 80
    TLS_PORT: ClassVar[int] = 443

    @property
    def files(self) -> Path:
        """Everybody on the network may have these who knows their names."""
        return self.path / "files"

    @property
    def certificate(self) -> Path:
        """What an installer trusts; it is there as long as it is served."""
        return self.path / "certificate.pem"

    @property
    def identities(self) -> Path:
        """Identities that have not been given away yet."""
        return self.path / "identities"

    def identity(self, address: str, once: str) -> Path:
        """Return the identity for a machine at ``address`` that brings ``once``."""
        return self.identities / address / once

    def make(self) -> None:
        """Create the folder for its owner alone."""
        for part in (self.path, self.files, self.identities):
            part.mkdir(mode=0o700, parents=True, exist_ok=True)


@dataclass(frozen=True)
class IdentityApplication:
    """Gives an identity away a single time: whoever comes second knows that somebody else has it (WSGI)."""

    folder: ServerFolder

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        return self._answer(Request(environ))(environ, start_response)

    def _answer(self, request: Request) -> Response:
        word = WORD.fullmatch(request.headers.get("Authorization", ""))
        if request.method != "GET" or request.path != "/identity":
            return _plain(HTTPStatus.NOT_FOUND)
        if word is None or request.remote_addr is None:
            return _plain(HTTPStatus.UNAUTHORIZED)
        found = self.folder.identity(request.remote_addr, word["once"])
        taken = found.with_name(found.name + TAKEN)
        try:
            # One of two who come at the same time fails here.
            found.rename(taken)
        except FileNotFoundError:
            return _plain(HTTPStatus.GONE if taken.exists() else HTTPStatus.UNAUTHORIZED)
        text = taken.read_bytes()
        taken.write_bytes(b"")
        return Response(text, content_type="text/plain")


def _plain(status: HTTPStatus) -> Response:
    return Response(f"{status.phrase}\n", status=status, content_type="text/plain")


def told(application: Wsgi) -> Wsgi:
    """Return the application with a line on the output for every request; secrets in paths are left out."""

    def telling(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            name = environ.get("PATH_INFO", "").rpartition("/")[2]
            sys.stdout.write(f"{environ.get('REMOTE_ADDR')} {environ.get('REQUEST_METHOD')} {name!r}: {status}\n")
            sys.stdout.flush()
            return start_response(status, headers, *rest)

        return application(environ, start)

    return telling


def _fronts(address: str, folder: ServerFolder) -> tuple[WsgiFront, WsgiFront]:
    files, identities = told(FilesApplication(folder.files)), told(IdentityApplication(folder))
    home, name = folder.path, COMMON_NAME
    return (
        WsgiFront(files, home, name, ServerFolder.HTTP_PORT, address=address, tls=False),
        WsgiFront(identities, home, name, ServerFolder.TLS_PORT, address=address),
    )


def main(arguments: list[str]) -> int:
    """Serve until the process is told to end."""
    address, folder = arguments[0], ServerFolder(Path(arguments[1]))
    end = EndOfService()
    try:
        fronts = _fronts(address, folder)
    except OSError as error:
        sys.stderr.write(f"nothing can be served at {address}: {error.strerror}\n")
        return 1
    for front in fronts:
        front.start()
    sys.stdout.write(f"serving at {address}\n")
    sys.stdout.flush()
    end.wait()
    for front in fronts:
        front.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
