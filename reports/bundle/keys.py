"""Ed25519 keys (RFC 8032) that evidence is signed with: PEM files, and a fingerprint that people can compare."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lab.errors import BadInput

KEY_VARIABLE = "RECOVERY_LAB_EVIDENCE_KEY"
"""Environment variable with the path of a private key that takes the place of the lab's own."""
_FINGERPRINT = re.compile(r"[0-9a-f]{64}")


def own_key_file(home: Path) -> Path:
    """Return where the lab keeps its key, unless the environment names another one."""
    given = os.environ.get(KEY_VARIABLE)
    return Path(given) if given else home / "keys" / "evidence.pem"


def signing_key(home: Path) -> Ed25519PrivateKey:
    """Return the key that the environment names, or the lab's own, made (mode 0600) when there is none.

    Raises:
        BadInput: a key that was named is missing, or no unencrypted Ed25519 key in PEM.
    """
    file = own_key_file(home)
    if not file.exists() and not os.environ.get(KEY_VARIABLE):
        _make(file)
    return read_private_key(file)


def read_private_key(file: Path) -> Ed25519PrivateKey:
    """Read a private key. Raises BadInput."""
    try:
        key = serialization.load_pem_private_key(file.read_bytes(), None)
    except OSError as error:
        raise BadInput(f"{file}: {error.strerror}") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise BadInput(f"{file}: no unencrypted private key in PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{file}: evidence is signed with Ed25519, this key is of another kind")
    return key


def expected_fingerprint(given: str) -> str:
    """Return the fingerprint that a user means: 64 hexadecimal digits, or a file with a public or private key in PEM.

    Raises:
        BadInput: it is neither.
    """
    if _FINGERPRINT.fullmatch(given.lower()):
        return given.lower()
    file = Path(given)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise BadInput(f"{given}: neither a fingerprint (64 hexadecimal digits) nor a file that can be read") from error
    if b"PRIVATE KEY" in content:
        return fingerprint(read_private_key(file).public_key())
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadInput(f"{given}: no public key in PEM") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadInput(f"{given}: evidence is signed with Ed25519, this key is of another kind")
    return fingerprint(key)


def fingerprint(key: Ed25519PublicKey) -> str:
    """Return the SHA-256 of the 32 bytes of a public key, as 64 hexadecimal digits."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def public_pem(key: Ed25519PublicKey) -> str:
    """Return a public key as PEM."""
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_bytes(serialization.Encoding.PEM, form).decode()


def _make(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    content = Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    part = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as target:
            target.write(content)
            os.fsync(target.fileno())
        # Not replaced if another run was first: what that one signs has to stay checkable.
        file.hardlink_to(part)
    except FileExistsError:
        pass
    finally:
        part.unlink()
