"""Reading JSON that others wrote, with messages that name the place. Small on purpose: guests start this slowly."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lab.replication.configuration_server.ca import NAME
from lab.replication.configuration_server.errors import BadRequest

MAC = re.compile(r"([0-9a-f]{2}:){5}[0-9a-f]{2}\Z")


@dataclass(frozen=True)
class Reader:
    """One JSON object and where it is, such as ``disks[0]``."""

    value: Mapping[str, Any]
    place: str

    @classmethod
    def of(cls, value: object, place: str) -> Reader:
        """Start reading. Raises BadRequest when ``value`` is not an object."""
        if not isinstance(value, dict):
            raise BadRequest(f"{place}: an object is expected, not {type(value).__name__}")
        return cls(value, place)

    def only(self, *known: str) -> None:
        """Refuse keys that nobody reads. Raises BadRequest."""
        unknown = sorted(set(self.value) - set(known))
        if unknown:
            raise BadRequest(f"{self.place}: unknown key {unknown[0]!r}; known are {', '.join(known)}")

    def has(self, key: str) -> bool:
        """Whether there is a value that is not null."""
        return self.value.get(key) is not None

    def text(self, key: str) -> str:
        """Return a text that is not empty. Raises BadRequest."""
        value = self._get(key)
        if not isinstance(value, str) or not value:
            raise self._bad(key, "a text", value)
        return value

    def name(self, key: str) -> str:
        """Return a name: lower-case letters, digits and hyphens. Raises BadRequest."""
        value = self.text(key)
        if not NAME.match(value):
            raise self._bad(key, "a name (lower-case letters, digits, hyphens; at most 40)", value)
        return value

    def integer(self, key: str, least: int, most: int) -> int:
        """Return a whole number within bounds. Raises BadRequest."""
        value = self._get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise self._bad(key, f"a whole number from {least} to {most}", value)
        return value

    def flag(self, key: str, *, default: bool | None = None) -> bool:
        """Return true or false; without a default it has to be there. Raises BadRequest."""
        value = self.value.get(key, default)
        if not isinstance(value, bool):
            raise self._bad(key, "true or false", value)
        return value

    def mac(self, key: str) -> str:
        """Return a MAC address in lower case with colons. Raises BadRequest."""
        value = self.text(key)
        if not MAC.match(value):
            raise self._bad(key, "a MAC address such as 52:54:00:00:00:01", value)
        return value

    def address(self, key: str) -> str:
        """Return an IP address. Raises BadRequest."""
        value = self.text(key)
        try:
            return str(ipaddress.ip_address(value))
        except ValueError as error:
            raise self._bad(key, "an IP address", value) from error

    def network(self, key: str) -> str:
        """Return a network such as 10.30.0.0/24. Raises BadRequest."""
        value = self.text(key)
        try:
            return str(ipaddress.ip_network(value))
        except ValueError as error:
            raise self._bad(key, "a network such as 10.30.0.0/24", value) from error

    def texts(self, key: str) -> list[str]:
        """Return a list of texts. Raises BadRequest."""
        value = self._get(key)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self._bad(key, "a list of texts", value)
        return value

    def inner(self, key: str) -> Reader:
        """Return an object inside this one. Raises BadRequest."""
        return Reader.of(self._get(key), f"{self.place}.{key}")

    def objects(self, key: str, *, default: bool = False) -> list[Reader]:
        """Return a list of objects; with ``default`` it may be missing. Raises BadRequest."""
        value = self.value.get(key, []) if default else self._get(key)
        if not isinstance(value, list):
            raise self._bad(key, "a list", value)
        return [Reader.of(item, f"{self.place}.{key}[{position}]") for position, item in enumerate(value)]

    def _get(self, key: str) -> Any:
        if key not in self.value:
            raise BadRequest(f"{self.place}: {key!r} is missing")
        return self.value[key]

    def _bad(self, key: str, expected: str, value: object) -> BadRequest:
        return BadRequest(f"{self.place}.{key}: {expected} is expected, not {value!r}")


def name_in(text: str) -> str:
    """Return a name that is part of an address. Raises BadRequest when it is not one."""
    if not NAME.match(text):
        raise BadRequest(f"{text!r} is not a name: lower-case letters, digits and hyphens, at most 40")
    return text


def number_in(text: str, what: str) -> int:
    """Return a number that is part of an address. Raises BadRequest when it is not one."""
    if not text.isdecimal():
        raise BadRequest(f"{what}: a number is expected, not {text!r}")
    return int(text)
