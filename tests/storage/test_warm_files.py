"""Files are there once for all users, stay while anybody uses them, and go with the last one."""

import fcntl
import mmap
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from populace.storage.records.errors import StoreInvalid
from populace.storage.warm_files import USERS, WarmFiles, erase, sweep, warm_root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "warm"


def names(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if path.is_file())


def test_what_one_user_adds_others_find_as_the_same_file(root: Path) -> None:
    first, second = WarmFiles(root), WarmFiles(root)
    first.add("a", b"bytes")

    assert second.use("a") == 5
    assert second.path("a").samefile(first.path("a"))
    assert second.use("b") is None
    assert second.use("a") == 5


def test_a_file_goes_with_its_last_user(root: Path) -> None:
    first, second = WarmFiles(root), WarmFiles(root)
    first.add("a", b"bytes")
    second.use("a")

    first.leave("a")
    assert names(root) == ["a"]
    assert second.path("a").read_bytes() == b"bytes"
    second.leave("a")

    assert names(root) == []
    assert first.use("a") is None


def test_who_closes_leaves_everything_and_takes_nothing_from_others(root: Path) -> None:
    first, second = WarmFiles(root), WarmFiles(root)
    for name in "ab":
        first.add(name, b"bytes")
    second.use("b")

    first.close()

    assert names(root) == ["b"]
    assert len(list((root / USERS).iterdir())) == 1
    second.close()
    assert names(root) == []
    assert list((root / USERS).iterdir()) == []


def test_what_is_mapped_stays_readable_after_everybody_left(root: Path) -> None:
    files = WarmFiles(root)
    files.add("a", b"bytes" * 1000)
    with files.path("a").open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    files.leave("a")

    assert mapped[:5] == b"bytes"
    mapped.close()


def test_two_that_add_the_same_at_once_both_have_it(root: Path) -> None:
    first, second = WarmFiles(root), WarmFiles(root)
    first.add("a", b"bytes")
    second.add("a", b"bytes")

    first.leave("a")

    assert second.path("a").read_bytes() == b"bytes"
    second.leave("a")
    assert names(root) == []


def test_what_a_killed_user_left_goes_when_the_next_one_comes(root: Path) -> None:
    script = (
        "import sys, time; from pathlib import Path; from populace.storage.warm_files import WarmFiles; "
        "WarmFiles(Path(sys.argv[1])).add('a', b'bytes'); print('there', flush=True); time.sleep(600)"
    )
    child = subprocess.Popen([sys.executable, "-c", script, str(root)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "there\n"
    living = WarmFiles(root)
    assert names(root) == ["a"], "a living user's file was removed"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()

    WarmFiles(root)

    assert names(root) == []
    assert len(list((root / USERS).iterdir())) == 2
    living.close()


def test_what_could_not_be_written_leaves_nothing(root: Path) -> None:
    files = WarmFiles(root)

    with pytest.raises(TypeError):
        files.add("a", "not bytes")  # type: ignore[arg-type]

    assert names(root) == []
    assert [path.name for path in files.path("a").parent.iterdir()] == [".lock"]


def test_an_erased_file_is_gone_under_all_its_names(root: Path) -> None:
    first, second = WarmFiles(root), WarmFiles(root)
    for name in ("aa.BF16", "ab.BF16"):
        first.add(name, b"bytes")
        second.use(name)

    erase(root, "aa")

    assert names(root) == ["ab.BF16"]
    for files in (first, second):
        assert not files.path("aa.BF16").exists()
        assert files.path("ab.BF16").exists()
    first.leave("aa.BF16")


def test_a_directory_of_another_user_is_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: root.stat().st_uid + 1)

    with pytest.raises(StoreInvalid, match="belongs to another user"):
        WarmFiles(root)


def test_unfinished_files_are_erased_with_the_others_and_go_with_their_user(root: Path) -> None:
    files = WarmFiles(root)
    for name in ("aa.fetched", "ab.fetched"):
        (files.scratch / name).mkdir()
        (files.scratch / name / "part").write_bytes(b"bytes")

    erase(root, "aa")
    assert sorted(path.name for path in files.scratch.iterdir()) == [".lock", "ab.fetched"]

    files.close()
    assert not files.scratch.exists()


def test_the_directory_that_is_named_is_the_parent_of_ours_and_nothing_else_in_it_is_swept(
    tmp_path: Path,
) -> None:
    (tmp_path / "unrelated").write_bytes(b"bytes")

    WarmFiles(warm_root(tmp_path)).close()

    assert (tmp_path / "unrelated").read_bytes() == b"bytes"
    assert warm_root(tmp_path).parent == tmp_path


def test_a_sweep_takes_no_one_who_is_just_coming_for_one_who_died(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = fcntl.flock

    def swept_before_it_locks(descriptor: int, how: int) -> None:
        if how == fcntl.LOCK_EX:
            sweep(root)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", swept_before_it_locks)
    files = WarmFiles(root)
    sweep(root)

    files.add("a", b"bytes")
    assert names(root) == ["a"]
    files.close()
