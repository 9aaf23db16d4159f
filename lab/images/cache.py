"""Images by the digest of their recipe: built once, shared by every lab on this machine."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.images.disk import write_disk
from lab.images.recipe import Recipe, load_recipe
from lab.images.rootfs import build_rootfs
from lab.images.stream import ImageStream, image_stream
from lab.locks import held
from lab.waiting import Deadline

BUILDING = "build-"
LOCK_SECONDS = 3600.0
"""Several images may be built before it is somebody's turn; each takes a minute, and 15 at most."""


@dataclass(frozen=True)
class Image:
    """A cached disk image with the kernel that it boots (for proving acceleration)."""

    disk: Path
    kernel: Path
    initrd: Path


@dataclass(frozen=True)
class ImageCache:
    """The folder of cached images; it can be deleted at any time that no lab is up."""

    folder: Path

    def lookup(self, name: str, size_bytes: int) -> Image | None:
        """Return the image if it is built already."""
        image = self._image(name, load_recipe(name), size_bytes)
        return image if image.disk.exists() else None

    def provide(self, name: str, size_bytes: int) -> Image:
        """Return the image of a recipe, built now if it is not cached. Raises LabError, BadInput."""
        recipe = load_recipe(name)
        image = self._image(name, recipe, size_bytes)
        with _locked(self.folder / "lock"):
            if not image.disk.exists():
                self._build(recipe, image, size_bytes)
        return image

    def stream(self, image: Image) -> ImageStream:
        """Return an image's stream for boot media, made now if it is not cached."""
        with _locked(self.folder / "lock"):
            return image_stream(image.disk)

    def _image(self, name: str, recipe: Recipe, size_bytes: int) -> Image:
        stem = f"{name}-{recipe.digest}"
        return Image(
            disk=self.folder / f"{stem}-{size_bytes >> 20}m.raw",
            kernel=self.folder / f"{stem}.vmlinuz",
            initrd=self.folder / f"{stem}.initrd",
        )

    def _build(self, recipe: Recipe, image: Image, size_bytes: int) -> None:
        log = self.folder / f"{image.disk.stem}.log"
        for abandoned in self.folder.glob(f"{BUILDING}*"):
            shutil.rmtree(abandoned)
        with tempfile.TemporaryDirectory(dir=self.folder, prefix=BUILDING) as work:
            root, disk = Path(work) / "root", Path(work) / "disk.raw"
            build_rootfs(recipe, root, log)
            write_disk(root, disk, size_bytes, recipe.filesystem_uuid)
            shutil.copyfile(next((root / "boot").glob("vmlinuz-*")), image.kernel)
            shutil.copyfile(next((root / "boot").glob("initrd.img-*")), image.initrd)
            disk.chmod(0o644)
            # Last, and atomic: a file under its final name is a whole image.
            disk.rename(image.disk)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process build at a time; others wait and find the image made.

    What builds inherits the lock: after SIGKILL of the lab nobody enters its folder before it has ended.

    Raises:
        LabError: another build takes longer than any may.
    """
    with held(path, Deadline.after(LOCK_SECONDS), "end of another build") as file:
        os.set_inheritable(file.fileno(), True)
        yield
