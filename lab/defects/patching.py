"""Puts a defect into a stack: into modules as they are imported, or into a copy of the sources."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.util
import shutil
import sys
from collections.abc import Iterable, Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

from lab.defects.model import Defect, PatchDoesNotApply, patched_sources
from lab.errors import LabError

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("lab", "fixtures", "reports", "suites", "topologies", "pyproject.toml", "conftest.py", "README.md")


def source_file(module: str, root: Path = ROOT) -> Path:
    """Return the file of a module of the stack."""
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def changed_sources(defect: Defect, root: Path = ROOT) -> dict[str, str]:
    """Return the sources that a defect changes, by module. Raises PatchDoesNotApply."""
    modules = {edit.full_module for edit in defect.edits}
    return patched_sources(defect, {name: source_file(name, root).read_text(encoding="utf-8") for name in modules})


def require_fit(defects: Iterable[Defect]) -> None:
    """Refuse defects that the stack has outgrown, before one is tried: a probe that cannot begin has noticed nothing.

    Raises:
        LabError: with all that do not fit.
    """
    misfits = [message for item in defects if (message := _misfit(item)) is not None]
    if misfits:
        raise LabError("\n".join(misfits), hint="write their patches anew in lab/defects/parts")


def _misfit(item: Defect) -> str | None:
    try:
        changed_sources(item)
    except PatchDoesNotApply as error:
        return f"{item.name} does not fit the stack any more: {error}"
    return None


def patch_imports(defect: Defect) -> None:
    """Have this process import the stack with the defect in it; nothing of the stack may be imported yet.

    Raises:
        PatchDoesNotApply: the stack has changed.
        RuntimeError: a module of the stack is imported already.
    """
    changed = changed_sources(defect)
    early = sorted(name for name in changed if name in sys.modules)
    if early:
        raise RuntimeError(f"imported before it could be changed: {', '.join(early)}")
    sys.meta_path.insert(0, _Finder(changed))
    # At once: pytest puts a finder of its own before this one, for every module whose name looks like a test's.
    for name in changed:
        importlib.import_module(name)


def copy_with(defect: Defect | None, target: Path) -> None:
    """Copy the project to ``target`` with the defect in the stack's sources: what is run there installs it everywhere.

    Raises:
        PatchDoesNotApply: the stack has changed.
    """
    ignored = shutil.ignore_patterns("__pycache__", "out", ".venv")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=ignored)
        else:
            shutil.copy2(source, target / name)
    for module, text in (changed_sources(defect, target) if defect else {}).items():
        source_file(module, target).write_text(text, encoding="utf-8")


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, changed: dict[str, str]) -> None:
        self._changed = changed

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the protocol of finders
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if fullname not in self._changed:
            return None
        file = source_file(fullname)
        return importlib.util.spec_from_file_location(
            fullname, file, loader=_Loader(fullname, str(file), self._changed[fullname])
        )


class _Loader(SourceFileLoader):
    """Compiles the changed text; never reads or writes compiled files, which belong to the unchanged one."""

    def __init__(self, fullname: str, path: str, text: str) -> None:
        super().__init__(fullname, path)
        self._text = text

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the protocol of loaders
        return compile(self._text, self.path, "exec", dont_inherit=True)
