from collections.abc import Mapping

from hypothesis import given
from hypothesis import strategies as st

from lab.machines.drift import QUESTIONS, Change, drift, look, parse

ANSWERS = {
    "dpkg-query": "dash 0.5.12-2\nlibc6 2.36-9\n",
    "sha256sum": "aa11  /etc/hostname\nbb22  /etc/a file\n",
    "-mindepth": "dpkg\nrecovery\n",
    "%m %U %G  %p\n": "755 0 0  /etc/hosts.d\n600 0 0  /root/.ssh\n",
    "-printf": "/lib/x.service  /etc/systemd/system/multi-user.target.wants/x.service\n",
    "systemctl": "ssh.service          enabled enabled\nx.timer masked  enabled\n",
    "cat": "root:x:0:0:root:/root:/bin/sh\nsync:x:4:65534:sync:/bin:/bin/sync\n",
    "ss": "LISTEN 0 128 0.0.0.0:22 0.0.0.0:*\nLISTEN 0 128 [::]:22 [::]:*\n",
}


class Shell:
    def __init__(self, answers: Mapping[str, str]) -> None:
        self.answers = answers

    def check(self, *argv: str, stdin: str | None = None, seconds: float = 1.0) -> str:
        return next(text for word, text in self.answers.items() if word in argv)


def test_everything_that_an_owner_would_notice_is_looked_at() -> None:
    found = look(Shell(ANSWERS))
    assert {kind for kind, _ in found} == set(QUESTIONS)
    assert found["package", "libc6"] == "2.36-9"
    assert found["file", "/etc/a file"] == "bb22"
    assert found["link", "/etc/systemd/system/multi-user.target.wants/x.service"] == "/lib/x.service"
    assert found["unit", "ssh.service"] == "enabled enabled"
    assert found["user", "sync"] == "x:4:65534:sync:/bin:/bin/sync"
    assert found["mode", "/root/.ssh"] == "600 0 0"
    assert found["state", "recovery"] == ""
    assert found["port", "[::]:22"] == ""


def test_every_kind_of_change_is_told() -> None:
    before = look(Shell(ANSWERS))
    for word, text in ANSWERS.items():
        rest = text.splitlines(keepends=True)[1:]
        fewer = drift(before, look(Shell({**ANSWERS, word: "".join(rest)})))
        assert [change.after for change in fewer] == [None], word
        assert str(fewer[0]).endswith(": gone")
        more = drift(look(Shell({**ANSWERS, word: "".join(rest)})), before)
        assert [change.before for change in more] == [None], word
        assert str(more[0]).endswith(": new")
    changed = drift(before, look(Shell({**ANSWERS, "sha256sum": ANSWERS["sha256sum"].replace("aa11", "cc33")})))
    assert changed == (Change("file", "/etc/hostname", "aa11", "cc33"),)
    assert str(changed[0]) == "file /etc/hostname: changed"
    assert drift(before, before) == ()


RECORDS = st.dictionaries(st.tuples(st.sampled_from(list(QUESTIONS)), st.text(max_size=3)), st.text(max_size=2))


@given(before=RECORDS, after=RECORDS)
def test_the_changes_are_what_makes_one_the_other(before, after) -> None:
    made = dict(before)
    for change in drift(before, after):
        made.pop((change.kind, change.name), None)
        if change.after is not None:
            made[change.kind, change.name] = change.after
    assert made == after


def test_an_empty_answer_is_nothing() -> None:
    assert parse("package", "\n") == {}
