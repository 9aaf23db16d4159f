"""YAML is read strictly, and everything in it has its line."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.documents import DEEPEST, MOST_REPEATED, load_yaml, read_document

WORDS = st.text("abcxyz-_.019 ~:,#'\"[]{}&*!|>%@`?\n\té漢", min_size=1, max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


def problems(text: str) -> list[tuple[int, str]]:
    return [(each.line, each.message) for each in read_document(text).problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"),
        ("on", "on"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("Nothing", "Nothing"),
        ("010", 10),
        ("0o10", 8),
        ("0x1f", 31),
        ("-12", -12),
        ("1_000", "1_000"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("2026-11-29", "2026-11-29"),
        ("12:30:45", "12:30:45"),
        ("10.10.0.11", "10.10.0.11"),
        ("'12'", "12"),
        ('"true"', "true"),
        ("900 MiB", "900 MiB"),
    ],
)
def test_scalars_are_those_of_the_core_schema(text: str, value: object) -> None:
    found = load_yaml(f"key: {text}")["key"]
    assert found == value
    assert type(found) is type(value)


@given(VALUES)
@settings(max_examples=150)
def test_what_json_says_is_read_as_json_does(value: object) -> None:
    import json

    text = json.dumps({"key": value}, ensure_ascii=False)
    assert load_yaml(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a' stands here twice"),
        ("a: {b: 1,\n b: 2}\n", 2, "'b' stands here twice"),
        ("a: 1\nb: !!str 2\n", 2, "tags are not supported, and here is '!!str'"),
        ("a: !secret x\n", 1, "tags are not supported, and here is '!secret'"),
        ("a: !!python/object:os.system {}\n", 1, "tags are not supported, and here is '!!python/object:os.system'"),
        ("a: &x {k: 1}\nb:\n  <<: *x\n", 3, "merge keys ('<<') are not supported: use a plain alias"),
        ("a: 1\nb: *c\n", 2, "there is no anchor 'c' above"),
        ("a: &x\n  b: *x\n", 2, "this alias refers to something that contains it"),
        ("a: 1\n? [b, c]\n: 2\n", 2, "a key has to be a plain word"),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins here"),
        ("# nothing\n", 1, "the file is empty"),
        ("~\n", 1, "the file is empty"),
        (f"a: 1\nb: {'9' * 5000}\n", 2, "this value cannot be read"),
        ("a: 1\nb:\n  " + "[" * (DEEPEST + 1), 3, f"nested deeper than {DEEPEST} levels"),
    ],
)
def test_what_two_readers_could_understand_differently_is_refused(text: str, line: int, message: str) -> None:
    assert problems(text) == [(line, message)]


def test_what_is_no_yaml_has_its_line() -> None:
    ((line, message),) = problems("a: 1\nb: [1, 2\nc: 3\n")
    assert line in {2, 3}
    assert message.startswith("not YAML: ")
    assert problems("a: \x00")[0][1].startswith("not YAML: ")


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"line 2: 'a' stands.*\nline 3: tags are"):
        load_yaml("a: 1\na: 2\nb: !x 1\n")


def test_aliases_that_multiply_are_refused_before_they_are_followed() -> None:
    """Each line stands for ten times the one before: a few hundred bytes would become more than any memory."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    ((line, message),) = problems("\n".join(lines))
    assert message == f"aliases add more than {MOST_REPEATED} values to this file"
    assert line in {6, 7}


def test_everything_has_the_line_of_its_key() -> None:
    document = read_document("a:\n  b: &shared\n    c: 1\n  d:\n    - x\n    -\n      e: 2\nf: *shared\n")
    assert document.data == {"a": {"b": {"c": 1}, "d": ["x", {"e": 2}]}, "f": {"c": 1}}
    lines = {
        (): 1,
        ("a",): 1,
        ("a", "b"): 2,
        ("a", "b", "c"): 3,
        ("a", "d", 0): 5,
        ("a", "d", 1, "e"): 7,
        ("f",): 8,
        ("f", "c"): 3,
        ("a", "d", 1, "missing"): 7,
    }
    assert {location: document.line_of(location) for location in lines} == lines
    assert document.known(("a", "union-tag", "b", "c")) == ("a", "b", "c")
    assert document.known(("f", "c")) == ("f", "c")
