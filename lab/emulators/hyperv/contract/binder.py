"""Binds what a script wrote to the parameters of a cmdlet, with the errors that PowerShell's own binder has."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.emulators.hyperv.contract.tables import Module, Parameter, Signature
from lab.emulators.hyperv.powershell.interpreter import Arguments
from lab.emulators.hyperv.powershell.values import EnumValue, PowerShellError, Record, Unsupported, text

_RANGES = {"Int16": 15, "Int32": 31, "Int64": 63, "UInt16": 16, "UInt32": 32, "UInt64": 64}
_NOTHING = object()


@dataclass(frozen=True)
class Bound:
    """Values by the canonical name of their parameter."""

    set: str
    values: Mapping[str, Any]

    def get(self, name: str, default: Any = None) -> Any:
        """Return a value, or the default when it was not given."""
        return self.values.get(name, default)

    def flag(self, name: str) -> bool:
        """Whether a switch is on."""
        return bool(self.values.get(name, False))


def bind(module: Module, signature: Signature, given: Arguments, piped: Any = _NOTHING) -> Bound:
    """Return the bound parameters. Raises PowerShellError as PowerShell does, Unsupported."""
    if given.positional:
        raise Unsupported(f"{signature.name}: arguments without the name of a parameter are not emulated")
    values: dict[str, Any] = {}
    for word, value in given.named.items():
        parameter = _called(signature, word)
        if parameter.name in values:
            raise _error(signature, "ParameterAlreadyBound", f"The parameter '{word}' is specified more than once.")
        values[parameter.name] = _converted(module, signature, parameter, value)
    if piped is not _NOTHING:
        values |= _from_pipeline(module, signature, values, piped)
    return Bound(_parameter_set(signature, values), values)


def _called(signature: Signature, word: str) -> Parameter:
    found = next((item for item in signature.parameters if item.called(word)), None)
    if found is not None:
        return found
    if any(item.name.casefold().startswith(word.casefold()) for item in signature.parameters):
        raise Unsupported(f"parameter -{word} of {signature.name} is abbreviated")
    message = f"A parameter cannot be found that matches parameter name '{word}'."
    raise _error(signature, "NamedParameterNotFound", message)


def _from_pipeline(module: Module, signature: Signature, values: Mapping[str, Any], piped: Any) -> dict[str, Any]:
    """Return the parameter that takes an object of the pipeline: by its type, then by the name of a property."""
    free = [item for item in signature.parameters if item.name not in values]
    for parameter in free:
        if any(member.pipeline in {"value", "both"} for member in parameter.sets.values()) and _fits(parameter, piped):
            return {parameter.name: _converted(module, signature, parameter, piped)}
    if isinstance(piped, Record):
        for parameter in free:
            if not any(member.pipeline in {"name", "both"} for member in parameter.sets.values()):
                continue
            for name in (parameter.name, *parameter.aliases):
                if name in piped.properties:
                    return {parameter.name: _converted(module, signature, parameter, piped.properties[name])}
    message = "The input object cannot be bound to any parameters for the command."
    raise _error(signature, "InputObjectNotBound", message)


def _fits(parameter: Parameter, value: Any) -> bool:
    match value:
        case Record():
            return parameter.base == value.kind
        case str():
            return parameter.base == "String"
        case uuid.UUID():
            return parameter.base == "Guid"
    return False


def _parameter_set(signature: Signature, values: Mapping[str, Any]) -> str:
    named = [item for item in signature.parameters if item.name in values]
    possible = [each for each in signature.sets if all(item.within(each) for item in named)]
    whole = [each for each in possible if not _missing(signature, each, values)]
    if not possible or (len(whole) > 1 and signature.default not in whole and not _same(signature, whole)):
        message = "Parameter set cannot be resolved using the specified named parameters."
        raise _error(signature, "AmbiguousParameterSet", message)
    if not whole:
        missing = _missing(signature, signature.default if signature.default in possible else possible[0], values)
        message = f"Cannot process command because of one or more missing mandatory parameters: {' '.join(missing)}."
        raise _error(signature, "MissingMandatoryParameter", message)
    return signature.default if signature.default in whole else whole[0]


def _same(signature: Signature, sets: list[str]) -> bool:
    """Whether the sets ask for the same, as two sets do of which one is a mere copy in the documentation."""
    required = [
        {item.name for item in signature.parameters if (member := item.within(each)) and member.required}
        for each in sets
    ]
    return all(item == required[0] for item in required)


def _missing(signature: Signature, name: str, values: Mapping[str, Any]) -> list[str]:
    return [
        item.name
        for item in signature.parameters
        if (member := item.within(name)) is not None and member.required and item.name not in values
    ]


def _converted(module: Module, signature: Signature, parameter: Parameter, value: Any) -> Any:
    if parameter.type == "SwitchParameter":
        return value is not False
    if parameter.type.endswith("[]"):
        found = value if isinstance(value, list) else [value]
        return [_single(module, signature, parameter, item) for item in found]
    if isinstance(value, list):
        raise _cannot(signature, parameter, "System.Object[]")
    return _single(module, signature, parameter, value)


def _single(module: Module, signature: Signature, parameter: Parameter, value: Any) -> Any:
    try:
        found = _simple(module, parameter.base, value)
    except (ValueError, TypeError) as error:
        raise _cannot(signature, parameter, text(value)) from error
    if parameter.values and text(found) not in parameter.values:
        message = f"Cannot validate argument on parameter '{parameter.name}': {', '.join(parameter.values)}."
        raise _error(signature, "ParameterArgumentValidationError", message)
    return found


def _simple(module: Module, base: str, value: Any) -> Any:
    """Return a value as a type. Raises ValueError, TypeError."""
    if base in module.enums:
        return _enum(module, base, value)
    if base in _RANGES:
        return _integer(base, value)
    if base in _SIMPLE:
        return _SIMPLE[base](value)
    if isinstance(value, Record) and base in {value.kind, "PSObject"}:
        return value
    if base == "Hashtable" and isinstance(value, dict):
        return value
    raise TypeError(f"{base} is not {type(value).__name__}")


def _enum(module: Module, base: str, value: Any) -> EnumValue:
    if isinstance(value, EnumValue) and value.kind == base:
        return value
    found = module.enum(base, text(value))
    if found is None:
        raise ValueError(value)
    return found


def _integer(base: str, value: Any) -> int:
    found, bits = int(value), _RANGES[base]
    least = 0 if base.startswith("U") else -(1 << bits)
    if isinstance(value, bool) or not least <= found < 1 << bits:
        raise ValueError(value)
    return found


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError("only $true and $false are emulated")
    return value


def _string(value: Any) -> str:
    if isinstance(value, Record | dict) or value is None:
        raise TypeError("no string")
    return text(value)


def _span(value: Any) -> dt.timedelta:
    if isinstance(value, dt.timedelta):
        return value
    hours, minutes, seconds = map(int, text(value).split(":"))
    return dt.timedelta(hours=hours, minutes=minutes, seconds=seconds)


def _moment(value: Any) -> dt.datetime:
    found = value if isinstance(value, dt.datetime) else dt.datetime.fromisoformat(text(value))
    return found if found.tzinfo is not None else found.replace(tzinfo=dt.UTC)


_SIMPLE: dict[str, Callable[[Any], Any]] = {
    "String": _string,
    "Version": _string,
    "Boolean": _boolean,
    "Guid": lambda value: value if isinstance(value, uuid.UUID) else uuid.UUID(text(value)),
    "TimeSpan": _span,
    "DateTime": _moment,
}


def _cannot(signature: Signature, parameter: Parameter, value: str) -> PowerShellError:
    message = f'Cannot bind parameter \'{parameter.name}\'. Cannot convert value "{value}" to type "{parameter.type}".'
    return _error(signature, "CannotConvertArgumentNoMessage", message)


def _error(signature: Signature, word: str, message: str) -> PowerShellError:
    return PowerShellError(message, f"{word},{signature.command}", "InvalidArgument: (:)")
