"""HTML that is escaped unless it was made here: whatever a machine calls itself, it stays text."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

VOID = frozenset({"input", "link", "meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """Return an element; children that are no Markup and all attributes are escaped, None is left out.

    An attribute ends in ``_`` where its plain name is a word of Python: ``class_``.
    """
    given = "".join(
        f" {key.rstrip('_')}" if value is True else f' {key.rstrip("_")}="{html.escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    return Markup(f"<{name}{given}>" if name in VOID else f"<{name}{given}>{join(children)}</{name}>")


def join(children: Iterable[object]) -> Markup:
    """Return children one after the other, escaped as in ``tag``."""
    return Markup("".join(child if isinstance(child, Markup) else html.escape(_plain(child)) for child in children))


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Markup:
    """Return a table with a caption; one without rows says so."""
    body = [tag("tr", *(tag("td", cell) for cell in row)) for row in rows]
    empty = tag("tr", tag("td", "none", colspan=len(columns), class_="none"))
    head = tag("tr", *(tag("th", column, scope="col") for column in columns))
    return tag("table", tag("caption", caption), tag("thead", head), tag("tbody", *(body or [empty])))


def _plain(value: object) -> str:
    return "" if value is None else str(value)
