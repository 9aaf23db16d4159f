"""The signed statement about a bundle: an in-toto Statement v1 in a DSSE envelope, in one canonical form. Pure.

The subjects are the files with their SHA-256; the predicate has their sizes, the head of the Merkle tree over all of
them, and the key that signed. A leaf of the tree is the canonical JSON of ``{path, sha256, size}``; leaves are in the
order of their paths. DSSE signs ``PAE(type, payload)``, so a signature for something else cannot be reused.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from reports.bundle.keys import fingerprint
from reports.bundle.merkle import tree_head

PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "urn:recovery-lab:evidence:1"


class NoEnvelope(ValueError):
    """The bytes are not an envelope of this kind in its canonical form."""


@dataclass(frozen=True, order=True)
class SealedFile:
    """A file of a bundle; ``path`` is relative, with slashes."""

    path: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Statement:
    """What was signed. ``about``: run, verdict, and the versions that made the certificate."""

    files: tuple[SealedFile, ...]
    root: str
    about: Mapping[str, str]


@dataclass(frozen=True)
class Sealed:
    """An envelope that was read: the statement, the fingerprint of its key, and whether the signature is that key's."""

    statement: Statement
    key: str
    genuine: bool


def root_of(files: Sequence[SealedFile]) -> str:
    """Return the head of the Merkle tree over files."""
    return tree_head([canonical(asdict(file)) for file in sorted(files)]).hex()


def canonical(value: object) -> bytes:
    """Return JSON in the one form that is accepted back: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def sign(files: Sequence[SealedFile], about: Mapping[str, str], key: Ed25519PrivateKey) -> bytes:
    """Return the envelope about files."""
    ordered = sorted(files)
    public = key.public_key()
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": file.path, "digest": {"sha256": file.sha256}} for file in ordered],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "about": dict(about),
            "merkle_root": root_of(ordered),
            "public_key": _text(public.public_bytes_raw()),
            "sizes": [file.size for file in ordered],
        },
    }
    payload = canonical(statement)
    signature = {"keyid": fingerprint(public), "sig": _text(key.sign(_to_be_signed(payload)))}
    return canonical({"payload": _text(payload), "payloadType": PAYLOAD_TYPE, "signatures": [signature]}) + b"\n"


def read(content: bytes) -> Sealed:
    """Read an envelope and check its signature against the key that it names.

    Raises:
        NoEnvelope: it is none, or any byte is not as ``sign`` would have written it.
    """
    try:
        envelope = json.loads(content)
        payload = base64.b64decode(envelope["payload"], validate=True)
        signature = base64.b64decode(envelope["signatures"][0]["sig"], validate=True)
        statement = json.loads(payload)
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode(statement["predicate"]["public_key"]))
        files = _files(statement)
        about = {str(name): str(value) for name, value in statement["predicate"]["about"].items()}
        root = str(statement["predicate"]["merkle_root"])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise NoEnvelope(f"not a signed statement: {error!r}") from error
    _insist_on_form(content, payload, statement, signature, public)
    try:
        public.verify(signature, _to_be_signed(payload))
        genuine = root == root_of(files)
    except InvalidSignature:
        genuine = False
    return Sealed(Statement(files, root, about), fingerprint(public), genuine)


def _insist_on_form(
    content: bytes, payload: bytes, statement: Mapping[str, Any], signature: bytes, public: Ed25519PublicKey
) -> None:
    signatures = [{"keyid": fingerprint(public), "sig": _text(signature)}]
    whole = {"payload": _text(payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures}
    if content != canonical(whole) + b"\n" or payload != canonical(statement):
        raise NoEnvelope("the signed statement is not in the form in which it was written")
    kinds = (statement.get("_type"), statement.get("predicateType"))
    if kinds != (STATEMENT_TYPE, PREDICATE_TYPE):
        raise NoEnvelope(f"a statement of another kind: {kinds}")


def _files(statement: Mapping[str, Any]) -> tuple[SealedFile, ...]:
    subjects, sizes = statement["subject"], statement["predicate"]["sizes"]
    return tuple(
        SealedFile(str(subject["name"]), str(subject["digest"]["sha256"]), int(size))
        for subject, size in zip(subjects, sizes, strict=True)
    )


def _to_be_signed(payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding."""
    kind = PAYLOAD_TYPE.encode()
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
