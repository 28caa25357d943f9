"""``populace backup`` and ``populace restore`` say in a line what they did, or what to do instead."""

from pathlib import Path
from typing import NamedTuple

import pytest

from populace.storage.backup_note import read_finished_ms
from populace.storage.store import Store
from tests.actors.backup_command import populace, renew_keys
from tests.storage.backups import fill


@pytest.fixture
def data(tmp_path: Path) -> Path:
    store = Store.create_or_open(tmp_path / "data", 2)
    fill(store)
    return store.path


def said(text: str) -> str:
    """The text as it was before the console broke its lines, which it may do within a path."""
    return "".join(text.split())


def test_a_backup_and_a_restore_say_what_they_did(data: Path, tmp_path: Path) -> None:
    backup, keys, new = tmp_path / "backup", tmp_path / "keys", tmp_path / "new"

    made = populace("backup", backup, "--keys", keys, "--data", data)
    restored = populace("restore", backup, "--keys", keys, "--data", new)

    assert (made.returncode, restored.returncode) == (0, 0), made.stderr + restored.stderr
    assert said(f"Backed up 2 models, 2 adapters and 2 API keys to {backup}.") in said(made.stdout)
    assert said(f"Restored 2 models, 2 adapters and 2 API keys to {new}.") in said(restored.stdout)
    assert Store.open(new).store_id == Store.open(data).store_id
    assert read_finished_ms(data) is not None
    assert read_finished_ms(new) is None, "it has no backup yet"


def test_the_keys_alone_are_renewed(data: Path, tmp_path: Path) -> None:
    renewed = renew_keys(data, tmp_path / "keys")

    assert (renewed["models"], renewed["directory"]) == (2, None)
    assert {entry.name for entry in tmp_path.iterdir()} == {"data", "keys"}


class Mistake(NamedTuple):
    """Arguments, with paths relative to the test's folder, and what the error says."""

    command: str
    directory: str | None
    data: str
    keys_only: bool
    says: str


MISTAKES = (
    Mistake("backup", None, "data", False, "Name a directory for the backup"),
    Mistake("backup", "backup", "data", True, "Name a directory for the backup"),
    Mistake("backup", "data/backup", "data", False, "it lies in the data directory"),
    Mistake("backup", "backup", "absent", False, "store.json cannot be read"),
    Mistake("restore", "absent", "new", False, "backup.json cannot be read"),
)


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.says)
def test_a_mistake_is_named_in_a_line_and_leaves_nothing(
    data: Path, tmp_path: Path, mistake: Mistake
) -> None:
    before = {entry.name for entry in tmp_path.iterdir()}
    arguments: list[object] = ["--keys", tmp_path / "keys", "--data", tmp_path / mistake.data]
    if mistake.directory is not None:
        arguments.append(tmp_path / mistake.directory)
    if mistake.keys_only:
        arguments.append("--keys-only")

    done = populace(mistake.command, *arguments)

    assert done.returncode == 1
    assert said(mistake.says) in said(done.stderr)
    assert "Traceback" not in done.stderr
    assert {entry.name for entry in tmp_path.iterdir()} == before
