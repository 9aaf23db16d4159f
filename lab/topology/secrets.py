"""Secrets in a topology are references; the words themselves never stand in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Tag


class EnvironmentSecret(BaseModel):
    """The secret is in an environment variable of the person who runs the lab."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    env: str


class FileSecret(BaseModel):
    """The secret is the content of a file."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    file: Path


class GeneratedSecret(BaseModel):
    """The lab makes a random secret for each run."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    generate: Literal[True]


def _kind(value: object) -> str | None:
    kinds = ("env", "file", "generate")
    if isinstance(value, dict):
        return next((kind for kind in kinds if kind in value), None)
    return next((kind for kind in kinds if hasattr(value, kind)), None)


Secret = Annotated[
    Annotated[EnvironmentSecret, Tag("env")]
    | Annotated[FileSecret, Tag("file")]
    | Annotated[GeneratedSecret, Tag("generate")],
    Discriminator(
        _kind,
        custom_error_type="secret_reference",
        custom_error_message="a secret is given by reference: {env: NAME}, {file: PATH} or {generate: true}",
    ),
]
