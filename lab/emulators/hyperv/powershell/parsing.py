"""From the text of a script to its tree: the grammar of the subset."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import resources

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedInput

from lab.emulators.hyperv.powershell.values import Unsupported

MOST_CHARACTERS = 200_000
KEPT_TREES = 256


@cache
def parser() -> Lark:
    """Return the parser of the subset."""
    grammar = resources.files(__package__).joinpath("powershell.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", maybe_placeholders=False)


@lru_cache(KEPT_TREES)
def parse(source: str) -> Tree[Token]:
    """Return the tree of a script, which nobody changes. Raises Unsupported with line and column."""
    if len(source) > MOST_CHARACTERS:
        raise Unsupported("unsupported PowerShell: the script is too long")
    try:
        return parser().parse(source)
    except UnexpectedInput as error:
        if error.line < 1:
            raise Unsupported("unsupported PowerShell: unexpected end of the script") from error
        rest = source.split("\n")[error.line - 1][max(0, error.column - 1) :][:40]
        raise Unsupported(f"unsupported PowerShell: line {error.line} col {error.column}: {rest!r}") from error
