from hypothesis import given
from hypothesis import strategies as st

from lab.networks.naming import device_name, namespace_name

NAME = st.from_regex(r"[a-z][a-z0-9-]{0,30}", fullmatch=True)


@given(st.lists(NAME, min_size=1, max_size=3), st.lists(NAME, min_size=1, max_size=3))
def test_device_names_fit_the_kernel_and_differ_when_any_part_does(one: list[str], other: list[str]) -> None:
    assert len(device_name("lt", *one)) <= 15
    assert (device_name("lt", *one) == device_name("lt", *other)) == (one == other)


def test_parts_do_not_run_into_each_other() -> None:
    assert device_name("br", "a", "bc") != device_name("br", "ab", "c")
    assert namespace_name("embedded") == "recovery-lab-embedded"
