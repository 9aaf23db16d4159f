from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from lab.networks.naming import device_name, namespace_name, tag_of

NAME = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)


@given(st.lists(NAME, min_size=1, max_size=3), st.lists(NAME, min_size=1, max_size=3))
def test_device_names_fit_the_kernel_and_differ_when_any_part_does(one: list[str], other: list[str]) -> None:
    assert len(device_name("lt", *one)) <= 15
    assert (device_name("lt", *one) == device_name("lt", *other)) == (one == other)


def test_parts_do_not_run_into_each_other() -> None:
    assert device_name("br", "a", "bc") != device_name("br", "ab", "c")
    assert namespace_name("embedded") == "recovery-lab-embedded"


def test_labs_of_one_name_in_two_homes_have_tags_of_their_own() -> None:
    here, there = Path("/var/lib/recovery-lab/labs"), Path("/srv/nightly/labs")
    assert tag_of("embedded", here) != tag_of("embedded", there)
    assert tag_of("embedded", here) == tag_of("embedded", here.parent / "saved" / ".." / "labs")
    assert tag_of("embedded", here).startswith("embedded-")
