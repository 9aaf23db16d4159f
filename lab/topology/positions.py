"""YAML with the line of every value, so that an error can name the place to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Problem:
    """Something wrong at a line of a file (lines count from 1)."""

    line: int
    message: str


@dataclass
class Document:
    """Plain data, the line of everything in it, and what was wrong already."""

    data: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def line_of(self, location: Path) -> int:
        """Return the line of the deepest part of ``location`` that the file has."""
        return self.lines.get(self.known(location), 1)

    def known(self, location: Path) -> Path:
        """Return ``location`` without steps that are not in the file (pydantic adds union tags)."""
        path: Path = ()
        for step in location:
            if (*path, step) in self.lines:
                path = (*path, step)
        return path


def read_document(text: str) -> Document:
    """Parse YAML 1.2 and keep positions. Duplicate keys and loops are collected as problems."""
    document = Document()
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        document.problems.append(Problem(mark.line + 1 if mark else 1, f"not YAML: {error.problem}"))
        return document
    except YAMLError as error:
        document.problems.append(Problem(1, f"not YAML: {error}"))
        return document
    if root is None:
        document.problems.append(Problem(1, "the file is empty"))
        return document
    document.data = _Builder(document, yaml.constructor.construct_object).build(root, (), ())
    return document


class _Builder:
    """Turns nodes into plain data and writes down where they were."""

    def __init__(self, document: Document, scalar: Callable[[Node], Any]) -> None:
        self._document = document
        self._scalar = scalar

    def build(self, node: Node, path: Path, parents: tuple[Node, ...]) -> Any:
        self._document.lines.setdefault(path, node.start_mark.line + 1)
        if any(node is parent for parent in parents):
            self._complain(node, "this alias refers to something that contains it")
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path, (*parents, node))
        if isinstance(node, SequenceNode):
            return [self.build(item, (*path, index), (*parents, node)) for index, item in enumerate(node.value)]
        return self._value(node)

    def _mapping(self, node: MappingNode, path: Path, parents: tuple[Node, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                self._complain(key_node, "merge keys ('<<') are not supported: use a plain alias")
                continue
            key = str(key_node.value) if isinstance(key_node, ScalarNode) else "?"
            if key in result:
                self._complain(key_node, f"'{key}' stands here twice")
                continue
            self._document.lines[(*path, key)] = key_node.start_mark.line + 1
            result[key] = self.build(value_node, (*path, key), parents)
        return result

    def _value(self, node: Node) -> Any:
        try:
            return self._scalar(node)
        except (YAMLError, ValueError):
            self._complain(node, "this value cannot be read")
            return None

    def _complain(self, node: Node, message: str) -> None:
        self._document.problems.append(Problem(node.start_mark.line + 1, message))
