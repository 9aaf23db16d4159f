"""A plugin of ``nbdkit python``: serves one blob snapshot read-only, by HTTPS ranges.

``order`` names a file (mode 0600) with JSON ``{url, ca_file, size}``. The address carries the signature, so it is
neither an argument nor in the environment. Standard input is a pipe that whoever started this closes to end it: nbdkit
waits for reads before it ends, and a read tries again for minutes. nbdkit runs this in its own Python: standard
library only.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import select
import ssl
import threading
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

API_VERSION = 2
STORAGE_VERSION = "2021-08-06"
TIMEOUT_S = 20.0
GIVE_UP_S = 300.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
PARTIAL = 206
BLOCK = 2 << 20
BLOCKS = 12
"""A boot loader reads a few sectors at a time: so many blocks are fetched whole and kept, 24 MiB for a disk."""
PARALLEL = 3
"""``nbdkit.THREAD_MODEL_PARALLEL``; the module ``nbdkit`` only exists inside of it."""


class Blob:
    """One snapshot. Each thread has a connection of its own, which is replaced when it breaks.

    ``leash`` is a file descriptor; its end says that nobody reads any more.
    """

    def __init__(self, order: dict[str, Any], leash: int) -> None:
        self._leash = leash
        parts = urlsplit(str(order["url"]))
        self.size = int(order["size"])
        self._host, self._port = str(parts.hostname), parts.port or 443
        self._path = f"{parts.path}?{parts.query}"
        self._context = ssl.create_default_context(cafile=order["ca_file"])
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._threads = threading.local()
        self._block = functools.lru_cache(BLOCKS)(self._fetch)

    def pread(self, length: int, offset: int) -> bytes:
        """Return bytes, from blocks that were fetched before where there are such. Raises OSError."""
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        if last - first > 1:
            return self.read(length, offset)
        content = b"".join(self._block(number) for number in range(first, last + 1))
        begin = offset - first * BLOCK
        return content[begin : begin + length]

    def _fetch(self, number: int) -> bytes:
        offset = number * BLOCK
        return self.read(min(BLOCK, self.size - offset), offset)

    def read(self, length: int, offset: int) -> bytes:
        """Return bytes; tries again for minutes, because a machine takes an error for a broken disk.

        Raises:
            OSError: it cannot be read, or the leash was let go.
        """
        end, pause = time.monotonic() + GIVE_UP_S, FIRST_PAUSE_S
        while True:
            try:
                return self._read(length, offset)
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                if isinstance(error, ssl.SSLCertVerificationError) or time.monotonic() > end:
                    raise OSError(f"the blob cannot be read: {type(error).__name__}") from None
            if select.select([self._leash], [], [], pause)[0]:
                raise OSError("the blob is not served any more")
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def check(self) -> None:
        """Read the first page once, without trying again. Raises OSError, HTTPException."""
        self._read(512, 0)

    def _read(self, length: int, offset: int) -> bytes:
        connection = self._connection()
        headers = {"Range": f"bytes={offset}-{offset + length - 1}", "x-ms-version": STORAGE_VERSION}
        connection.request("GET", self._path, headers=headers)
        answer = connection.getresponse()
        content = answer.read()
        if answer.status != PARTIAL or len(content) != length:
            raise http.client.HTTPException(f"HTTP {answer.status}, {len(content)} bytes")
        return content

    def _connection(self) -> http.client.HTTPSConnection:
        found: http.client.HTTPSConnection | None = getattr(self._threads, "connection", None)
        if found is None:
            found = http.client.HTTPSConnection(self._host, self._port, context=self._context, timeout=TIMEOUT_S)
            self._threads.connection = found
        return found

    def _drop(self) -> None:
        found = getattr(self._threads, "connection", None)
        if found is not None:
            found.close()
            self._threads.connection = None


_given: dict[str, str] = {}


def config(key: str, value: str) -> None:
    """Take a parameter of the command line."""
    if key != "order":
        raise RuntimeError(f"unknown parameter {key}")
    _given[key] = value


def thread_model() -> int:
    """Answer several requests at the same time."""
    return PARALLEL


def get_ready() -> None:
    """Read the order and prove that the storage answers with the right certificate and takes the signature."""
    # A copy: nbdkit puts /dev/null in the place of standard input when it begins to serve.
    blob = Blob(json.loads(Path(_given["order"]).read_text()), os.dup(0))
    try:
        blob.check()
    except (OSError, http.client.HTTPException) as error:
        raise RuntimeError(f"the storage is not read: {type(error).__name__}") from None
    _served.append(blob)


_served: list[Blob] = []


def open(readonly: bool) -> Blob:  # noqa: A001, ARG001 - the name and the parameter are nbdkit's
    """Return what a connection reads."""
    return _served[0]


def get_size(blob: Blob) -> int:
    """Return the size in bytes."""
    return blob.size


def can_write(blob: Blob) -> bool:  # noqa: ARG001 - nbdkit's parameter
    """Return False."""
    return False


def can_multi_conn(blob: Blob) -> bool:  # noqa: ARG001 - nbdkit's parameter
    """Return True: a snapshot is the same over every connection."""
    return True


def pread(blob: Blob, buffer: bytearray, offset: int, flags: int) -> None:  # noqa: ARG001 - nbdkit's parameter
    """Fill a buffer."""
    buffer[:] = blob.pread(len(buffer), offset)
