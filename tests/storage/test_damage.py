"""A data directory that was damaged, or that the disk keeps from us: a named error, and no change."""

import random
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from populace.storage.records.errors import ShardStopped
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import ledger
from populace.storage.shards.environments import READERS_MAX
from populace.storage.shards.shard import Shard
from populace.storage.store import Store
from tests.limits import HANG_SECONDS
from tests.storage.processes import running
from tests.storage.samples import FOREVER_MS, TENANT, create_model, identity, interaction, open_shard

PAGE = 4096
TURNS = 20

# A damaged file may kill who reads it, and that must not be the test.
READER = """
import sys
from pathlib import Path
from populace.storage.rows import ledger
from populace.storage.records.errors import StorageError
from populace.storage.store import Store
from tests.storage.samples import TENANT

for path in sys.argv[1:]:
    try:
        shard = Store.create_or_open(Path(path)).recover_shard(0, "the reader")
        with shard.read() as txn:
            print("whole", len(ledger.read_log(txn, TENANT, "ada")))
        shard.close()
    except StorageError as error:
        print(type(error).__name__, error)
"""

# Whoever may write everywhere, as root may, gives that up after the imports.
STRANGER = """
import os, sys, tempfile
from pathlib import Path
from populace.storage.records.errors import StorageError
from populace.storage.store import Store

# What Python loads late is not this user's to read either.
with tempfile.TemporaryDirectory() as directory:
    store = Store.create_or_open(Path(directory), 1)
    store.lock("me").release()
    store.open_shard(0, "me").close()
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setuid(65534)
data, new = Path("data"), Path("new")
for attempt in (
    lambda: Store.open(data).lock("me"),
    lambda: Store.open(data).open_shard(0, "me"),
    lambda: Store.create_or_open(new),
):
    try:
        attempt()
    except StorageError as error:
        print(type(error).__name__, error)
"""

SMALL_SPACE = """
import resource, sys
from pathlib import Path
from populace.storage.records.errors import ShardStopped
from tests.storage.samples import open_shard

shard = open_shard(Path(sys.argv[1]), 0, 1, "no room", map_bytes=1 << 28)
shard.write([lambda txn: txn.put(b"before", b"value")])
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
_, hard = resource.getrlimit(resource.RLIMIT_AS)
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 27), hard))
for _ in range(2):
    try:
        shard.write([lambda txn, n=n: txn.put(b"k%d" % n, bytes(1 << 20)) for n in range(300)])
    except ShardStopped as error:
        print("stopped", flush=True)
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
shard.reopen()
with shard.read() as txn:
    print(txn.get(b"before"), txn.get(b"k0"))
shard.write([lambda txn: txn.delete(b"before")])
shard.check_integrity()
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with one model and a log; tests damage copies of it."""
    path = tmp_path_factory.mktemp("damage") / "whole"
    store = Store.create_or_open(path, 1)
    shard = store.open_shard(0, "the test")
    shard.write([lambda txn: create_model(txn, identity(), sealing=store.sealing)])
    for position in range(TURNS):
        shard.write([lambda txn, position=position: take_turn(txn, position)])
    shard.check_integrity()
    shard.close()
    return path


def take_turn(txn: WriteTransaction, position: int) -> None:
    ledger.commit_turn(
        txn,
        TENANT,
        "ada",
        interaction(position, f"op-{position}", "long " * 200 * position),
        body_hash=b"body",
        expected_position=position,
        expires_ms=FOREVER_MS,
        now_ms=0,
    )


def data_file(path: Path) -> Path:
    [found] = path.glob("shards/0000/*/data.mdb")
    return found


def copy_of(whole: Path, path: Path, damage: Callable[[bytes], bytes]) -> Path:
    shutil.copytree(whole, path)
    data = data_file(path)
    data.write_bytes(damage(data.read_bytes()))
    return path


def files_of(path: Path) -> dict[str, bytes]:
    """Read every file but LMDB's lock table, which is nobody's data."""
    files = (file for file in path.rglob("*") if file.is_file() and file.name != "lock.mdb")
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


def answers_of(*paths: Path) -> list[str]:
    """Let a process open the stores one after the other and say how each one went."""
    with running(READER, *paths) as reader:
        said, _ = reader.communicate(timeout=HANG_SECONDS)
    answers = said.decode().splitlines()
    assert reader.returncode == 0, f"signal {-reader.returncode} killed it at {paths[len(answers)]}"
    return answers


def test_a_file_that_was_cut_is_refused_and_left_as_it_is(tmp_path: Path, whole: Path) -> None:
    size = data_file(whole).stat().st_size
    kept = (0, 100, PAGE, 2 * PAGE, 3 * PAGE, size // 2 // PAGE * PAGE, size // 2 + 100, size - PAGE)
    paths = [copy_of(whole, tmp_path / str(n), lambda data, n=n: data[:n]) for n in kept]
    before = [files_of(path) for path in paths]

    answers = answers_of(*paths)

    assert len(answers) == len(kept)
    assert {answer.split()[0] for answer in answers} == {"StoreInvalid", "StoreDamaged"}
    assert [answer for answer in answers if "estore" not in answer] == []
    assert [files_of(path) for path in paths] == before


def test_a_file_of_something_else_is_refused_and_left_as_it_is(tmp_path: Path, whole: Path) -> None:
    path = copy_of(whole, tmp_path / "foreign", lambda data: random.Random(1).randbytes(len(data)))
    before = files_of(path)

    [answer] = answers_of(path)

    assert answer.startswith("StoreInvalid")
    assert "restore the data directory from a backup" in answer
    assert files_of(path) == before


def test_any_page_that_was_overwritten_is_found_or_was_free(tmp_path: Path, whole: Path) -> None:
    def damage(data: bytes, page: int) -> bytes:
        # Not with zeros: on an empty page in the middle of a scan LMDB aborts the process.
        other = random.Random(page).randbytes(PAGE)
        return data[: page * PAGE] + other + data[(page + 1) * PAGE :]

    pages = data_file(whole).stat().st_size // PAGE
    paths = [
        copy_of(whole, tmp_path / str(page), lambda data, page=page: damage(data, page))
        for page in range(pages)
    ]

    answers = answers_of(*paths)

    assert len(answers) == pages
    kinds = {answer.split()[0] for answer in answers}
    assert kinds <= {"StoreDamaged", "StoreInvalid", "whole"}
    assert {answer for answer in answers if "estore" not in answer} <= {f"whole {TURNS}"}
    # The log is most of the file.
    assert sum(answer.startswith("StoreDamaged") for answer in answers) > pages / 2


def test_a_file_whose_last_pages_were_never_written_is_whole(tmp_path: Path) -> None:
    shard = open_shard(tmp_path / "shard", 0, 1, "the test")
    for _ in range(4):
        shard.write([lambda txn: txn.put(b"x", bytes(50_000))])
        shard.write([lambda txn: txn.delete(b"x")])
    shard.write([come_and_go])
    [data] = tmp_path.glob("shard/*/data.mdb")
    assert data.stat().st_size < shard.statistics().bytes_used

    shard.reopen()

    shard.write([lambda txn: txn.delete(b"x")])
    shard.check_integrity()
    shard.close()


def come_and_go(txn: WriteTransaction) -> None:
    """Take pages from the list of free ones first: only then do later ones return to it unwritten."""
    txn.put(b"x", bytes(5_000))
    txn.put(b"y", bytes(1 << 20))
    txn.delete(b"y")


def test_a_directory_of_another_user_is_refused_and_left_as_it_is(tmp_path: Path, whole: Path) -> None:
    path = tmp_path / "home" / "data"
    shutil.copytree(whole, path)
    before = files_of(path)
    for entry in (path.parent, path, *path.rglob("*")):
        entry.chmod(0o555 if entry.is_dir() else 0o444)

    with running(STRANGER, path.parent) as stranger:
        said, _ = stranger.communicate(timeout=HANG_SECONDS)

    for entry in (path.parent, path, *path.rglob("*")):
        entry.chmod(0o755 if entry.is_dir() else 0o644)
    answers = said.decode().splitlines()
    assert [answer.split()[0] for answer in answers] == ["DiskRefused"] * 3, answers
    assert all("make it writable for this user" in answer for answer in answers)
    assert files_of(path) == before
    assert [entry.name for entry in path.parent.iterdir()] == ["data"]


def test_a_map_that_cannot_grow_stops_the_shard_and_loses_nothing(tmp_path: Path) -> None:
    with running(SMALL_SPACE, tmp_path) as process:
        said, _ = process.communicate(timeout=HANG_SECONDS)

    assert said.decode().splitlines() == ["stopped", "stopped", "b'value' None"]
    assert process.returncode == 0


def test_more_readers_than_slots_are_refused_and_hurt_nobody(shard: Shard) -> None:
    with ExitStack() as readers:
        for _ in range(READERS_MAX):
            readers.enter_context(shard.read())
        with pytest.raises(ShardStopped, match="READERS_FULL"), shard.read():
            pass
        shard.write([lambda txn: create_model(txn, identity())])

    with shard.read() as txn:
        assert ledger.read_model(txn, TENANT, "ada") is not None
