"""Receiving one document: to disk, verified, synced, and only then acknowledged."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
from aiohttp import web

from lab.replication.changeset import ChangeSetError, Corrupt, Head
from lab.replication.common.compression import Zstd
from lab.replication.common.inbox import Gap, Inbox
from lab.replication.document import verify_document

log = logging.getLogger(__name__)

WRITE_SIZE = 1 << 20
BODY_TIMEOUT_S = 120.0
RETRY_AFTER_S = 5


class NoSpace(OSError):
    """The quota for waiting documents is used up."""


def refusal(status: int, kind: str, message: str, **more: int) -> web.Response:
    """Return an error in the form that every data port uses: ``{error: {type, message}, ...}``."""
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == web.HTTPInsufficientStorage.status_code else None
    return web.json_response({"error": {"type": kind, "message": message}, **more}, status=status, headers=headers)


async def receive(request: web.Request, inbox: Inbox, stream: str, sequence: int, room: int) -> web.Response:
    """Store the body of ``request`` as document ``sequence``; ``room`` is how many bytes the quota still has.

    Returns:
        201 stored, 200 known before, 400 damaged, 409 ``{expected}`` after a gap, 507 no room.
    """
    part = inbox.part()
    try:
        if inbox.known(sequence):
            return web.json_response({"sequence": sequence})
        await _store(request, part, room)
        await asyncio.to_thread(_verify, part, stream, sequence)
        new = await asyncio.to_thread(inbox.admit, part, sequence)
    except Gap as gap:
        return refusal(409, "gap", str(gap), expected=gap.expected)
    except NoSpace as error:
        return refusal(507, "cache-full", str(error))
    except ChangeSetError as error:
        log.warning("stream %s document %d refused: %s", stream, sequence, error)
        return refusal(400, type(error).__name__.lower(), str(error))
    except (aiohttp.ClientError, web.RequestPayloadError, ConnectionError, TimeoutError) as error:
        log.info("stream %s document %d was not sent to its end: %s", stream, sequence, error)
        return refusal(400, "incomplete", "the body ended early")
    finally:
        part.unlink(missing_ok=True)
    return web.json_response({"sequence": sequence}, status=201 if new else 200)


async def _store(request: web.Request, part: Path, room: int) -> None:
    if (request.content_length or 0) > room:
        raise NoSpace("the document is larger than what is left")
    written = 0
    with part.open("wb", buffering=0) as file:
        async for block in _blocks(request.content):
            written += len(block)
            if written > room:
                raise NoSpace("the document is larger than what is left")
            await asyncio.to_thread(file.write, block)
        await asyncio.to_thread(os.fsync, file.fileno())


async def _blocks(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    more = True
    while more:
        chunks: list[bytes] = []
        size = 0
        async with asyncio.timeout(BODY_TIMEOUT_S):
            while size < WRITE_SIZE:
                chunk = await content.readany()
                if not chunk:
                    more = False
                    break
                chunks.append(chunk)
                size += len(chunk)
        if chunks:
            yield b"".join(chunks)


def _verify(part: Path, stream: str, sequence: int) -> Head:
    with part.open("rb") as file:
        head = verify_document(file, Zstd()).head
    if (head.stream, head.sequence) != (stream, sequence):
        raise Corrupt(f"this is document {head.sequence} of stream {head.stream}")
    return head
