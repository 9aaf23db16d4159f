import re
from pathlib import Path

import pytest

from lab.errors import BadInput
from lab.images import recipe
from lab.images.cache import ImageCache
from lab.images.recipe import load_recipe

CHANGES = [
    {"suite": "trixie"},
    {"filesystem_uuid": "00000000-0000-0000-0000-000000000001"},
    {"kernel_arguments": ("quiet",)},
    {"packages": ("python3",)},
    {"initramfs_modules": ()},
    {"masked_units": ("x.timer",)},
    {"excluded_paths": ("/x",)},
    {"generators": ()},
]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: next(iter(change)))
def test_the_digest_changes_with_everything_in_a_recipe(change: dict[str, object]) -> None:
    before = load_recipe("debian-12")
    assert before.model_copy(update=change).digest != before.digest


def test_every_field_is_tried_above() -> None:
    assert {name for change in CHANGES for name in change} == set(recipe.Recipe.model_fields)


def test_the_digest_is_the_same_for_the_same_recipe() -> None:
    assert load_recipe("debian-12").digest == load_recipe("debian-12").digest
    assert re.fullmatch(r"[0-9a-f]{16}", load_recipe("debian-12").digest)


def test_the_digest_changes_with_the_code_that_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builder = tmp_path / "rootfs.py"
    builder.write_text("one")
    monkeypatch.setattr(recipe, "_builder_files", lambda: [builder])
    before = load_recipe("debian-12").digest
    builder.write_text("two")
    assert load_recipe("debian-12").digest != before


def test_an_extended_recipe_has_all_of_its_base() -> None:
    base, extended = load_recipe("debian-12"), load_recipe("debian-12-postgresql")
    assert set(base.packages) < set(extended.packages)
    assert set(base.excluded_paths) < set(extended.excluded_paths)
    assert extended.masked_units == base.masked_units
    assert extended.kernel_arguments == base.kernel_arguments
    assert extended.digest != base.digest


@pytest.mark.parametrize("name", ["debain", "", "../recipe", "debian-12.yaml"])
def test_an_unknown_recipe_is_named_with_those_that_exist(name: str) -> None:
    with pytest.raises(BadInput, match=re.escape(f"no image recipe {name!r}; there are: debian-12")):
        load_recipe(name)


def test_an_image_is_found_by_recipe_and_size(tmp_path: Path) -> None:
    cache = ImageCache(tmp_path)
    assert cache.lookup("debian-12", 1 << 30) is None
    image = tmp_path / f"debian-12-{load_recipe('debian-12').digest}-1024m.raw"
    image.touch()
    found = cache.lookup("debian-12", 1 << 30)
    assert found is not None
    assert found.disk == image
    assert cache.lookup("debian-12", 1 << 31) is None
