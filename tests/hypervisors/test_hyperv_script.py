"""The renderer: nothing that it writes means anything else than what was given, for three readers of PowerShell."""

from typing import Any

import pytest
import tree_sitter_powershell
from hypothesis import given
from hypothesis import strategies as st
from tree_sitter import Language, Parser

from lab.emulators.hyperv.powershell.interpreter import Arguments, run
from lab.hypervisors.hyperv.script import (
    MOST_CHARACTERS,
    Cmdlet,
    Enum,
    NotScriptable,
    Pipeline,
    Queries,
    Switch,
    render,
)

PARSER = Parser(Language(tree_sitter_powershell.language()))
FOREIGN = st.text(max_size=60) | st.text(alphabet="'\"`$;|\u2018\u2019\u201c(){}@\n -x", max_size=60)


def broken(script: str) -> list[str]:
    """What an independent grammar of PowerShell does not understand of a script."""
    source = script.encode()
    waiting, found = [PARSER.parse(source).root_node], []
    while waiting:
        node = waiting.pop()
        if node.is_error or node.is_missing:
            found.append(source[node.start_byte : node.end_byte].decode())
        waiting += node.children
    return found


class Recorder:
    """Takes every cmdlet and remembers what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def invoke(self, _script: object, name: str, given: Arguments, _piped: object) -> list[Any]:
        assert given.positional == ()
        self.calls.append((name, dict(given.named)))
        return []


def read_back(queries: Queries) -> list[tuple[str, dict[str, Any]]]:
    recorder = Recorder()
    ended = run(render(queries), recorder)
    assert (ended.errors, ended.exit_code, ended.progress) == ([], 0, False)
    *calls, (last, _) = recorder.calls
    assert last == "ConvertTo-Json"
    return calls


def one(**parameters: Any) -> Queries:
    return {"found": [Pipeline(Cmdlet("Get-VM", parameters))]}


@given(FOREIGN)
def test_a_string_arrives_as_it_was_given_or_is_refused(text: str) -> None:
    try:
        script = render(one(Name=text))
    except NotScriptable:
        return
    assert read_back(one(Name=text)) == [("Get-VM", {"Name": text})]
    assert broken(script) == []


@given(st.lists(FOREIGN, min_size=1, max_size=3), st.integers(-(2**63), 2**63 - 1), st.booleans())
def test_other_values_arrive_too(texts: list[str], number: int, yes: bool) -> None:
    queries = one(Path=texts, SizeBytes=number, Enabled=yes, Force=Switch.ON, Confirm=Switch.OFF)
    try:
        render(queries)
    except NotScriptable:
        return
    [(_, found)] = read_back(queries)
    path = found.pop("Path")
    assert (path if isinstance(path, list) else [path]) == texts
    assert found == {"SizeBytes": number, "Enabled": yes, "Force": True, "Confirm": False}


@pytest.mark.parametrize("text", ["a\nb", "a\0", "\u2018", "\u2019; Remove-VM", "\u201b", "\u2028", "\x85", "\ud800"])
def test_what_could_end_a_string_is_refused(text: str) -> None:
    with pytest.raises(NotScriptable, match="cannot be written"):
        render(one(Name=text))


@pytest.mark.parametrize(
    "cmdlet",
    [
        Cmdlet("Get-VM; Remove-VM", {}),
        Cmdlet("iex", {}),
        Cmdlet("Get-VM", {"Name x; y": "z"}),
        Cmdlet("Get-VM\n", {}),
    ],
)
def test_names_are_names(cmdlet: Cmdlet) -> None:
    with pytest.raises(NotScriptable, match="is no name"):
        render({"found": [Pipeline(cmdlet)]})
    with pytest.raises(NotScriptable, match="is no name"):
        render({"found": [Pipeline(Cmdlet("Get-VM", {}), select=[Enum("State } ; x")])]})


def test_a_script_is_no_longer_than_the_host_takes() -> None:
    rest = MOST_CHARACTERS - len(render(one(Name="")))
    assert len(render(one(Name="a" * rest))) == MOST_CHARACTERS
    with pytest.raises(NotScriptable, match=f"{MOST_CHARACTERS + 1} characters"):
        render(one(Name="a" * (rest + 1)))


def test_the_independent_grammar_sees_what_is_broken() -> None:
    """Shows that the check can fail: the same script with a string that ends early."""
    script = render(one(Name="a''b"))
    assert broken(script) == []
    assert broken(script.replace("a''''b", "a'b")) != []
    assert broken("Get-VM -Name 'x") != []
