"""The JSON Schema of topology files, for editors, and for the words that error messages suggest."""

from __future__ import annotations

import json
from typing import Any

from lab.topology.model import Topology


def topology_schema() -> dict[str, Any]:
    """Return the JSON Schema of what a user writes."""
    return Topology.model_json_schema(by_alias=True, mode="validation")


def schema_text() -> str:
    """Return the content of ``topologies/schema.json``."""
    return json.dumps(topology_schema(), indent=2, sort_keys=True) + "\n"


def keys_at(schema: dict[str, Any], location: tuple[str | int, ...]) -> list[str]:
    """Return the keys that the schema knows in the mapping at ``location``."""
    nodes = [schema]
    for step in location:
        nodes = [child for node in nodes for branch in _branches(schema, node) for child in _step(branch, step)]
    return sorted({key for node in nodes for branch in _branches(schema, node) for key in branch.get("properties", {})})


def _branches(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _branches(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[1]])
    choices = [*node.get("anyOf", []), *node.get("oneOf", [])]
    return [branch for choice in choices for branch in _branches(schema, choice)] if choices else [node]


def _step(node: dict[str, Any], step: str | int) -> list[dict[str, Any]]:
    if isinstance(step, int):
        return [node["items"]] if "items" in node else []
    if step in node.get("properties", {}):
        return [node["properties"][step]]
    patterns = list(node.get("patternProperties", {}).values())
    other = node.get("additionalProperties")
    return [*patterns, other] if isinstance(other, dict) else patterns
