"""Runs a script of the subset: statements, pipelines, expressions. Cmdlets that do something are the host's."""

from __future__ import annotations

import fnmatch
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lark import Token, Tree

from lab.emulators.hyperv.powershell.parsing import parse
from lab.emulators.hyperv.powershell.values import (
    EnumValue,
    Exit,
    PowerShellError,
    Record,
    Unsupported,
    custom,
    items,
    one,
    text,
)

_CONSTANTS: dict[str, Any] = {"true": True, "false": False, "null": None}
_SIZES = {"kb": 10, "mb": 20, "gb": 30, "tb": 40}


@dataclass(frozen=True)
class Arguments:
    """What stands behind a cmdlet: parameters as they are written, and values without a name."""

    named: Mapping[str, Any]
    positional: tuple[Any, ...] = ()


class Cmdlets(Protocol):
    """Everything that a script can call."""

    def invoke(self, script: Interpreter, name: str, given: Arguments, piped: list[Any] | None) -> list[Any]:
        """Run a cmdlet. Raises PowerShellError, Unsupported."""


@dataclass
class Outcome:
    """What a script has written, and how it ended."""

    output: list[Any] = field(default_factory=list)
    errors: list[PowerShellError] = field(default_factory=list)
    exit_code: int = 0
    progress: bool = False
    """Whether the host wrote progress that nobody asked for."""


def run(source: str, cmdlets: Cmdlets) -> Outcome:
    """Run a script. Raises Unsupported."""
    return Interpreter(cmdlets).run(parse(source))


class Interpreter:
    """The state of one script: variables, output, errors."""

    def __init__(self, cmdlets: Cmdlets) -> None:
        self._cmdlets = cmdlets
        self._variables: dict[str, Any] = {}
        self._outcome = Outcome()

    def run(self, tree: Tree[Token]) -> Outcome:
        """Run the statements of a tree once."""
        outcome = self._outcome
        try:
            outcome.exit_code = self._statements(tree)
        except Exit as ending:
            outcome.exit_code = ending.code
        except PowerShellError as error:
            outcome.errors.append(error)
            outcome.exit_code = 1
        outcome.progress = text(self._variables.get("progresspreference")).casefold() != "silentlycontinue"
        return outcome

    def assign(self, name: str, value: Any) -> None:
        """Set a variable."""
        self._variables[name.casefold()] = value

    def evaluate(self, script: Any, item: Any) -> Any:
        """Return what a script block says of an item. Raises Unsupported for what is no block."""
        if not isinstance(script, Tree) or script.data != "script":
            raise Unsupported("a script block is expected")
        before = self._variables.get("_")
        self._variables["_"] = item
        try:
            return self.value(script.children[0])
        finally:
            self._variables["_"] = before

    def _statements(self, tree: Tree[Token]) -> int:
        """Run statements; return 1 when the last one failed without ending the script."""
        code = 0
        for statement in _trees(tree):
            code = 0
            try:
                self._statement(statement)
            except PowerShellError as error:
                if text(self._variables.get("erroractionpreference")).casefold() == "stop":
                    raise
                self._outcome.errors.append(error)
                code = 1
        return code

    def _statement(self, tree: Tree[Token]) -> None:
        match tree.data:
            case "assign":
                name, pipeline = tree.children
                self.assign(str(name)[1:], one(self.pipeline(_tree(pipeline))))
            case "try_statement":
                self._attempt(*_trees(tree))
            case "exit_statement":
                raise Exit(int(str(tree.children[0])))
            case "throw_statement":
                message = text(self.value(tree.children[0]))
                raise PowerShellError(message, message, "OperationStopped: (:)")
            case _:
                self._outcome.output += self.pipeline(tree)

    def _attempt(self, body: Tree[Token], rescue: Tree[Token]) -> None:
        try:
            for statement in _trees(body):
                self._statement(statement)
        except PowerShellError as error:
            exception = custom({"Message": str(error)})
            self._variables["_"] = custom({"Exception": exception, "FullyQualifiedErrorId": error.fqid})
            for statement in _trees(rescue):
                self._statement(statement)

    def pipeline(self, tree: Tree[Token]) -> list[Any]:
        """Return the output of a pipeline."""
        first, *rest = _trees(tree)
        found = self._command(first, None) if first.data == "command" else items(self.value(first))
        for command in rest:
            found = self._command(command, found)
        return found

    def _command(self, tree: Tree[Token], piped: list[Any] | None) -> list[Any]:
        name, *arguments = tree.children
        named: dict[str, Any] = {}
        positional: list[Any] = []
        waiting: str | None = None
        for argument in map(_tree, arguments):
            if argument.data == "array":
                found = self._array(argument)
                if waiting is None:
                    positional.append(found)
                else:
                    named[waiting] = found
                waiting = None
                continue
            if waiting is not None:
                named[waiting] = True
                waiting = None
            token = str(argument.children[0])
            match argument.data:
                case "parameter":
                    waiting = token[1:]
                case "switch_value":
                    named[token[1:-1]] = self.value(argument.children[1])
                case _:
                    named |= self._splatted(token)
        if waiting is not None:
            named[waiting] = True
        return self._cmdlets.invoke(self, str(name), Arguments(named, tuple(positional)), piped)

    def _splatted(self, token: str) -> dict[str, Any]:
        found = self._variables.get(token[1:].casefold())
        if not isinstance(found, dict):
            raise Unsupported(f"{token}: only a hashtable can be splatted")
        return found

    def _array(self, tree: Tree[Token]) -> Any:
        found = [self.value(item) for item in tree.children]
        return found[0] if len(found) == 1 else found

    def value(self, node: Tree[Token] | Token) -> Any:
        """Return the value of an expression."""
        tree = _tree(node)
        return _EXPRESSIONS[tree.data](self, tree)

    def _variable(self, tree: Tree[Token]) -> Any:
        name = str(tree.children[0])[1:].casefold()
        if name in _CONSTANTS:
            return _CONSTANTS[name]
        if name not in self._variables:
            raise Unsupported(f"the variable ${name} is not set")
        return self._variables[name]

    def _with_accessors(self, tree: Tree[Token]) -> Any:
        found = self.value(tree.children[0])
        for accessor in _trees(tree)[1:]:
            found = _property(found, str(accessor.children[0]))
        return found

    def _hashtable(self, tree: Tree[Token]) -> dict[str, Any]:
        found = {}
        for pair in _trees(tree):
            key, value = pair.children
            name = _unquoted(str(key)) if isinstance(key, Token) and key.type == "SINGLE_QUOTED" else str(key)
            found[name] = self.value(value)
        return found

    def _cast(self, tree: Tree[Token]) -> Any:
        kind, value = str(tree.children[0]).strip("[]").casefold(), self.value(tree.children[1])
        try:
            return _CASTS[kind](value)
        except (ValueError, TypeError) as error:
            message = f'Cannot convert value "{text(value)}" to type "{kind}".'
            raise PowerShellError(message, "InvalidCastFromStringToInteger") from error

    def _compare(self, tree: Tree[Token]) -> bool:
        left, operator, right = tree.children
        return _compared(self.value(left), str(operator)[1:].casefold(), self.value(right))


def _property(value: Any, name: str) -> Any:
    match value:
        case None:
            return None
        case Record():
            return value.get(name)
        case dict():
            return next((item for key, item in value.items() if key.casefold() == name.casefold()), None)
        case list():
            return [_property(item, name) for item in value]
    raise Unsupported(f"property {name} of {type(value).__name__} is not emulated")


def _compared(left: Any, operator: str, right: Any) -> bool:
    if operator in {"eq", "ne"}:
        textual = isinstance(left, str | EnumValue | uuid.UUID) or isinstance(right, str)
        same = text(left).casefold() == text(right).casefold() if textual else left == right
        return same is (operator == "eq")
    if operator == "like":
        return fnmatch.fnmatchcase(text(left).casefold(), text(right).casefold())
    if not isinstance(left, int) or not isinstance(right, int):
        raise Unsupported(f"-{operator} is emulated for numbers only")
    return {"gt": left > right, "ge": left >= right, "lt": left < right, "le": left <= right}[operator]


def _unquoted(token: str) -> str:
    return token[1:-1].replace("''", "'")


def _tree(node: Tree[Token] | Token) -> Tree[Token]:
    if not isinstance(node, Tree):
        raise Unsupported(f"unexpected {node!r}")
    return node


def _trees(tree: Tree[Token]) -> list[Tree[Token]]:
    return [child for child in tree.children if isinstance(child, Tree)]


_CASTS: dict[str, Callable[[Any], Any]] = {
    "string": text,
    "int": int,
    "long": int,
    "bool": bool,
    "guid": lambda value: uuid.UUID(text(value)),
}
_EXPRESSIONS: dict[str, Callable[[Interpreter, Tree[Token]], Any]] = {
    "single": lambda _, tree: _unquoted(str(tree.children[0])),
    "double": lambda _, tree: str(tree.children[0])[1:-1],
    "integer": lambda _, tree: int(str(tree.children[0])),
    "size": lambda _, tree: int(str(tree.children[0])[:-2]) << _SIZES[str(tree.children[0])[-2:].casefold()],
    "word": lambda _, tree: str(tree.children[0]),
    "variable": Interpreter._variable,  # noqa: SLF001 - a table of the class above
    "list": lambda script, tree: [item for each in _trees(tree) for item in script.pipeline(each)],
    "group": lambda script, tree: one(script.pipeline(_tree(tree.children[0]))),
    "hashtable": Interpreter._hashtable,  # noqa: SLF001
    "script": lambda _, tree: tree,
    "value": Interpreter._with_accessors,  # noqa: SLF001
    "cast": Interpreter._cast,  # noqa: SLF001
    "compare": Interpreter._compare,  # noqa: SLF001
    "both": lambda script, tree: script.value(tree.children[0]) and script.value(tree.children[1]),
    "either": lambda script, tree: script.value(tree.children[0]) or script.value(tree.children[1]),
}
