"""What an image is made of, and the name under which its result is cached."""

from __future__ import annotations

import hashlib
import json
from importlib import resources
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from lab.documents import load_yaml
from lab.errors import BadInput

RECIPES = "lab.images.recipes"


class Recipe(BaseModel):
    """A Debian system, by its packages and settings."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    suite: str
    filesystem_uuid: str
    kernel_arguments: tuple[str, ...]
    packages: tuple[str, ...]
    initramfs_modules: tuple[str, ...]
    masked_units: tuple[str, ...]
    generators: tuple[str, ...]
    """The generators of systemd that run; each costs a tenth of a second at every boot without acceleration."""
    excluded_paths: tuple[str, ...]
    """Patterns of files that are not unpacked: every byte of a system disk is replicated, hashed and compared."""

    @property
    def digest(self) -> str:
        """Return 16 hexadecimal digits that change with the recipe and with the files that build it."""
        content = hashlib.sha256(json.dumps(self.model_dump(), sort_keys=True).encode())
        for part in sorted(_builder_files()):
            content.update(part.name.encode() + part.read_bytes())
        return content.hexdigest()[:16]


def load_recipe(name: str) -> Recipe:
    """Return a recipe that ships with the lab.

    Raises:
        BadInput: no such recipe; the message lists those that exist.
    """
    folder = resources.files("lab.images") / "recipes"
    known = sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))
    if name not in known:
        raise BadInput(f"no image recipe {name!r}; there are: {', '.join(known)}")
    document: dict[str, object] = load_yaml((folder / f"{name}.yaml").read_text(encoding="utf-8"))
    base = document.pop("extends", None)
    if base is None:
        return Recipe.model_validate(document)
    return _extended(load_recipe(str(base)), document)


def _extended(base: Recipe, additions: dict[str, object]) -> Recipe:
    """Return a recipe with what another one adds: lists are joined, everything else is replaced."""
    joined = base.model_dump()
    for key, value in additions.items():
        joined[key] = [*joined[key], *value] if isinstance(value, list) and key in joined else value
    return Recipe.model_validate(joined)


def _builder_files() -> list[Path]:
    here = Path(__file__).parent
    trees = [path for tree in ("overlay", "early") for path in (here / tree).rglob("*") if path.is_file()]
    return [here / "rootfs.py", here / "disk.py", *trees]
