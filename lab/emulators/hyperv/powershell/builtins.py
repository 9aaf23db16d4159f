"""The cmdlets of PowerShell itself that scripts need around those of Hyper-V."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lab.emulators.hyperv.powershell import json51
from lab.emulators.hyperv.powershell.interpreter import Arguments, Interpreter
from lab.emulators.hyperv.powershell.values import PowerShellError, Record, Unsupported, custom, items, text

MODULES = {"hyper-v", "virtualmachinemanager"}
_DEPTH = 2
_PARAMETERS = {
    "where-object": {"filterscript"},
    "foreach-object": {"process"},
    "select-object": {"property", "first", "expandproperty"},
    "convertto-json": {"inputobject", "depth", "compress"},
    "convertfrom-json": {"inputobject"},
    "write-output": {"inputobject"},
    "write-error": {"message"},
    "import-module": {"name"},
}


def call(script: Interpreter, name: str, given: Arguments, piped: list[Any] | None) -> list[Any] | None:
    """Run a built-in cmdlet; None when it is none. Raises PowerShellError, Unsupported."""
    known = _BUILTINS.get(name.casefold())
    if known is None:
        return None
    for key in given.named:
        if key.casefold() not in _PARAMETERS[name.casefold()]:
            raise Unsupported(f"parameter -{key} of {name} is not emulated")
    named = {key.casefold(): value for key, value in given.named.items()}
    if len(given.positional) > 1:
        raise Unsupported(f"{name}: one argument without a name is emulated")
    return known(script, named, given.positional[0] if given.positional else None, piped)


Named = dict[str, Any]


def _where(script: Interpreter, named: Named, first: Any, piped: list[Any] | None) -> list[Any]:
    block = named.get("filterscript", first)
    return [item for item in piped or [] if script.evaluate(block, item)]


def _for_each(script: Interpreter, named: Named, first: Any, piped: list[Any] | None) -> list[Any]:
    block = named.get("process", first)
    return [found for item in piped or [] for found in items(script.evaluate(block, item))]


def _select(script: Interpreter, named: Named, first: Any, piped: list[Any] | None) -> list[Any]:
    found = list(piped or [])
    if "first" in named:
        found = found[: int(named["first"])]
    if "expandproperty" in named:
        return [value for item in found for value in items(_property(item, named["expandproperty"]))]
    columns = items(named.get("property", first))
    return [_selected(script, item, columns) for item in found] if columns else found


def _selected(script: Interpreter, item: Any, columns: list[Any]) -> Record:
    made: dict[str, Any] = {}
    for column in columns:
        if isinstance(column, dict):
            parts = {key.casefold(): value for key, value in column.items()}
            name = next((parts[key] for key in ("n", "name", "l", "label") if key in parts), None)
            block = parts.get("e", parts.get("expression"))
            if name is None or block is None:
                raise Unsupported("a calculated property has a name and an expression")
            made[text(name)] = script.evaluate(block, item)
        else:
            made[text(column)] = _property(item, column)
    return custom(made)


def _property(item: Any, name: Any) -> Any:
    if not isinstance(item, Record) or not isinstance(name, str):
        raise Unsupported(f"Select-Object of {type(item).__name__} by {type(name).__name__} is not emulated")
    return item.get(name)


def _to_json(_: Interpreter, named: Named, first: Any, piped: list[Any] | None) -> list[Any]:
    if named.get("compress") is not True:
        raise Unsupported("ConvertTo-Json is emulated with -Compress only")
    if "inputobject" in named or first is not None:
        value = named.get("inputobject", first)
    elif not piped:
        return []
    else:
        value = piped[0] if len(piped) == 1 else piped  # one object is not an array in 5.1
    return [json51.to_json(value, int(named.get("depth", _DEPTH)))]


def _from_json(_: Interpreter, named: Named, first: Any, piped: list[Any] | None) -> list[Any]:
    document = "".join(map(text, piped)) if piped else text(named.get("inputobject", first))
    try:
        return items(json51.from_json(document))
    except ValueError as error:
        kind = "System.ArgumentException,Microsoft.PowerShell.Commands.ConvertFromJsonCommand"
        raise PowerShellError("Invalid JSON primitive.", kind) from error


def _output(_: Interpreter, named: Named, first: Any, piped: list[Any] | None) -> list[Any]:
    return [*(piped or []), *items(named.get("inputobject", first))]


def _error(_: Interpreter, named: Named, first: Any, piped: list[Any] | None) -> list[Any]:  # noqa: ARG001 - one shape
    message = text(named.get("message", first))
    raise PowerShellError(message, "Microsoft.PowerShell.Commands.WriteErrorException")


def _import(_: Interpreter, named: Named, first: Any, piped: list[Any] | None) -> list[Any]:  # noqa: ARG001 - one shape
    for name in items(named.get("name", first)):
        if text(name).casefold() not in MODULES:
            kind = "Modules_ModuleNotFound,Microsoft.PowerShell.Commands.ImportModuleCommand"
            message = f"The specified module '{text(name)}' was not loaded because no valid module file was found."
            raise PowerShellError(message, kind)
    return []


_BUILTINS: dict[str, Callable[[Interpreter, Named, Any, list[Any] | None], list[Any]]] = {
    "where-object": _where,
    "foreach-object": _for_each,
    "select-object": _select,
    "convertto-json": _to_json,
    "convertfrom-json": _from_json,
    "write-output": _output,
    "write-error": _error,
    "import-module": _import,
}
