"""The folder of saved labs: whole ones only, damage noticed, the least used ones go, a killed maker leaves nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from saved_labs import YEAR_NS, put, saved

from lab.errors import BadInput, LabError
from lab.saved.inputs import FORMAT
from lab.saved.store import SavedLabs
from lab.waiting import Deadline, wait_until

MIB = 1 << 20


def names(store: SavedLabs) -> list[str]:
    return [entry.saved.key for entry in store.all()]


def test_there_is_none_at_first(store: SavedLabs) -> None:
    assert store.all() == []
    assert store.lookup("a") is None
    assert store.unreadable() == []


def test_what_was_saved_is_found_whole(store: SavedLabs) -> None:
    entry = put(store, "a")
    assert store.lookup("a") == entry
    assert entry.damage() == entry.verify() == []
    assert sorted(path.name for path in store.folder.iterdir()) == ["a", "lock"]
    assert sorted(path.name for path in entry.folder.iterdir()) == ["disks", "saved.json"]
    assert entry.folder.stat().st_mode & 0o777 == 0o711


def test_an_error_leaves_nothing(store: SavedLabs) -> None:
    with pytest.raises(FileNotFoundError), store.taking("a") as folder:
        (folder / "no" / "such" / "disk").write_bytes(b"x")
    assert [path.name for path in store.folder.iterdir()] == ["lock"]


def test_the_first_of_two_that_are_made_at_once_stays(store: SavedLabs) -> None:
    with store.taking("a") as folder:
        (folder / "saved.json").write_text(saved("a").model_dump_json())
        put(store, "a", b"first")
    entry = store.lookup("a")
    assert entry is not None
    assert (entry.folder / "disks" / "d.img").read_bytes() == b"first"
    assert sorted(path.name for path in store.folder.iterdir()) == ["a", "lock"]


def test_one_that_cannot_be_read_is_replaced(store: SavedLabs) -> None:
    (put(store, "a").folder / "saved.json").write_text("{")
    assert store.lookup("a") is None
    assert [path.name for path in store.unreadable()] == ["a"]
    put(store, "a", b"again")
    assert names(store) == ["a"]
    assert store.unreadable() == []


def test_a_description_of_another_key_is_not_believed(store: SavedLabs) -> None:
    put(store, "a").folder.rename(store.folder / "b")
    assert store.lookup("b") is None


@pytest.mark.parametrize("how", ["shorter", "gone", "touched"])
def test_damage_is_noticed_at_a_glance(store: SavedLabs, how: str) -> None:
    entry = put(store, "a")
    file = entry.folder / "disks" / "d.img"
    if how == "shorter":
        stat = file.stat()
        file.write_bytes(b"c")
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    elif how == "gone":
        file.unlink()
    else:
        os.utime(file, ns=(0, 0))
    assert entry.damage() == entry.verify() == ["disks/d.img"]


def test_damage_that_no_glance_shows_is_found_by_reading(store: SavedLabs) -> None:
    entry = put(store, "a", b"content")
    file = entry.folder / "disks" / "d.img"
    stat = file.stat()
    file.write_bytes(b"cOntent")
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert entry.damage() == []
    assert entry.verify() == ["disks/d.img"]


def test_what_expires_soon_or_has_another_format_is_of_no_use() -> None:
    now = time.time_ns()
    assert saved("a").unusable() is None
    assert "expires" in (saved("a", expires_ns=now + 3600 * 10**9).unusable() or "")
    assert saved("a", expires_ns=now + YEAR_NS).unusable(now + YEAR_NS - 1) is not None
    assert "format" in (saved("a", format=FORMAT + 1).unusable() or "")


def test_one_in_use_is_not_forgotten(store: SavedLabs) -> None:
    entry = put(store, "a")
    with pytest.raises(LabError, match="stands on saved lab a"):
        store.forget(entry, {"a"})
    assert names(store) == ["a"]
    store.forget(entry, {"b"})
    assert names(store) == []


def test_the_least_recently_used_go_first_but_not_those_in_use(store: SavedLabs) -> None:
    for age, key in enumerate(["new", "kept", "used", "old", "oldest"]):
        entry = put(store, key, os.urandom(MIB))
        os.utime(entry.folder / "saved.json", (0, time.time() - 100 * age))
    assert names(store) == ["new", "kept", "used", "old", "oldest"]
    assert store.bound(100 * MIB, {"used"}, keep="kept") == []
    assert store.bound(9 * MIB // 2, {"used"}, keep="kept") == ["oldest"]
    assert store.bound(0, {"used"}, keep="kept") == ["old", "new"]
    assert names(store) == ["kept", "used"]


def test_using_one_makes_it_the_last_to_go(store: SavedLabs) -> None:
    for key in ("a", "b"):
        os.utime(put(store, key).folder / "saved.json", (0, 0))
    entry = store.lookup("a")
    assert entry is not None
    entry.touch()
    assert names(store) == ["a", "b"]


def test_a_beginning_that_fits_one_names_it(store: SavedLabs) -> None:
    for key in ("abc", "abd"):
        put(store, key)
    assert store.named("abd").saved.key == "abd"
    for unclear in ("ab", "x", ""):
        with pytest.raises(BadInput, match=r"there are: (abd, abc|abc, abd)"):
            store.named(unclear)


TAKER = """
import sys, time
from pathlib import Path
from lab.saved.store import SavedLabs
with SavedLabs(Path(sys.argv[1])).taking("a") as folder:
    (folder / "disk").write_bytes(b"x")
    print("taking", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_maker_left_is_removed_and_what_a_living_one_makes_is_not(
    store: SavedLabs, tmp_path: Path
) -> None:
    maker = subprocess.Popen([sys.executable, "-c", TAKER, str(store.folder)], stdout=subprocess.PIPE)
    try:
        assert maker.stdout is not None
        assert maker.stdout.readline() == b"taking\n"
        assert store.sweep() == []
        left = [path for path in store.folder.iterdir() if path.is_dir()]
        assert len(left) == 1
        maker.send_signal(signal.SIGKILL)
        maker.wait(30)
        assert store.all() == store.unreadable() == []
        wait_until(lambda: store.sweep() == [left[0].name], Deadline.after(10), "end of the lock")
    finally:
        maker.kill()
        maker.wait(30)
        maker.stdout.close()
    assert [path.name for path in store.folder.iterdir()] == ["lock"]
