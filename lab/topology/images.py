"""Images that machines boot: built by the lab, or files of the user."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Discriminator, Tag

from lab.topology.part import Part
from lab.topology.units import Name


class RecipeImage(Part):
    """An image that the lab builds."""

    recipe: Name


class FileImage(Part):
    """The user's own qcow2 with cloud-init; a relative path starts at the topology file."""

    path: Path


def _image_kind(value: object) -> str | None:
    if isinstance(value, dict):
        return next((kind for kind in ("recipe", "path") if kind in value), None)
    return "recipe" if isinstance(value, RecipeImage) else "path"


Image = Annotated[
    Annotated[RecipeImage, Tag("recipe")] | Annotated[FileImage, Tag("path")],
    Discriminator(
        _image_kind,
        custom_error_type="image_kind",
        custom_error_message="an image is {recipe: NAME} or {path: FILE.qcow2}",
    ),
]
