"""A compacted shard is the same shard in a smaller file, whoever is stopped or killed meanwhile."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import lmdb
import pytest

from populace.storage.records.errors import DiskFull, Fenced, ShardStopped, StoreInvalid
from populace.storage.records.transaction import WriteTransaction
from populace.storage.shards import environments, generations
from populace.storage.shards import shard as shard_module
from populace.storage.shards.shard import Shard
from populace.storage.store import Store
from tests.limits import HANG_SECONDS
from tests.storage.samples import open_shard

SECRET = b"a sentence that somebody wants forgotten"
ROWS = {b"k%03d" % number: b"%03d" % number * 300 for number in range(200)}

ZOMBIE = """
import os, signal, sys
from pathlib import Path
from populace.storage.shards import shard as shard_module
from populace.storage.records.errors import Fenced
from tests.storage.samples import open_shard

def stop():
    os.kill(os.getpid(), signal.SIGSTOP)

shard = open_shard(Path(sys.argv[1]), 0, 1, "the zombie", map_bytes=1 << 26)
try:
    if sys.argv[2] == "writing":
        stop()
        shard.write([lambda txn: txn.put(b"gone", b"")])
    else:
        write_copy = shard_module.write_copy
        def stop_after_the_copy(*arguments, **options):
            copy = write_copy(*arguments, **options)
            stop()
            return copy
        shard_module.write_copy = stop_after_the_copy
        shard.compact()
except Fenced as error:
    print("fenced", error.held, error.stored)
"""

SLOW_SWAP = """
import sys
from pathlib import Path
from populace.storage.shards import generations
from populace.storage.records.errors import Fenced
from tests.storage.samples import open_shard

shard = open_shard(Path(sys.argv[1]), 0, 1, "the former", map_bytes=1 << 26)
rows = {b"k%03d" % number: b"%03d" % number * 300 for number in range(200)}
shard.write([lambda txn, row=row: txn.put(*row) for row in rows.items()])
point = generations.point

def wait_and_point(path, generation):
    if generation.parent == shard.path:
        print("swapping", flush=True)
        sys.stdin.readline()
    point(path, generation)

generations.point = wait_and_point
shard.compact()
try:
    shard.write([lambda txn: txn.put(b"k000", b"wrote")])
    print("wrote")
except Fenced as error:
    print("fenced", error.held, error.stored)
"""

KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from tests.storage.samples import open_shard
from populace.policies import placement
from populace.storage.resharding.reshard import reshard
from populace.storage.store import Store

template, root, work = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]

def do(path, calls_left):
    shard = open_shard(path, 0, 1, "the victim", map_bytes=1 << 26) if work == "compact" else None

    def count(event, arguments):
        nonlocal calls_left
        touches = event == "open" or event.startswith(("os.mkdir", "os.rename", "os.remove", "os.rmdir"))
        if touches and str(path) in str(arguments[0]):
            calls_left -= 1
            if calls_left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    if work == "reshard":
        reshard(path, 3, placement=placement, report=lambda step, fraction: None)
    elif shard is None:
        Store.create_or_open(path, 1 if work == "make" else None)
    else:
        shard.compact()

calls, status = 0, -1
while status != 0:
    path = shutil.copytree(template, root / str(calls))
    victim = os.fork()
    if victim == 0:
        do(path, calls)
        os._exit(0)
    _, status = os.waitpid(victim, 0)
    assert status in (0, signal.SIGKILL), status
    calls += 1
"""


def kill_at_each_call(template: Path, root: Path, work: str) -> list[Path]:
    """Do the work on copies of ``template``, killed at its nth file call in the nth; the last one lives."""
    command = [sys.executable, "-c", KILLED, str(template), str(root), work]
    subprocess.run(command, check=True, timeout=HANG_SECONDS)
    return sorted(root.iterdir(), key=lambda path: int(path.name))


def put(rows: dict[bytes, bytes]) -> Callable[[WriteTransaction], None]:
    def operation(txn: WriteTransaction) -> None:
        for key, value in rows.items():
            txn.put(key, value)

    return operation


def remove(prefix: bytes) -> Callable[[WriteTransaction], int]:
    return lambda txn: txn.delete_prefix(prefix)


def rows_of(shard: Shard) -> dict[bytes, bytes]:
    with shard.read() as txn:
        return dict(txn.scan(b"k"))


def copies_of(secret: bytes, path: Path) -> int:
    return sum(file.read_bytes().count(secret) for file in path.rglob("*") if file.is_file())


def leave_free(monkeypatch: pytest.MonkeyPatch, bytes_free: int) -> None:
    """Let every disk have so much room."""
    usage = shutil.disk_usage("/")._replace(free=bytes_free)

    def disk_usage(path: Path) -> object:
        return usage

    monkeypatch.setattr(shutil, "disk_usage", disk_usage)


def data_files(path: Path) -> list[Path]:
    return sorted(path.rglob("data.mdb"))


@pytest.fixture
def full(shard: Shard) -> Generator[Shard]:
    """The shard with rows, and with free pages that still hold deleted ones."""
    shard.write([put({b"x%03d" % number: SECRET * 50 for number in range(400)})])
    shard.write([put(ROWS)])
    shard.write([remove(b"x")])
    yield shard
    # The books are checked next, and these rows belong to no model.
    shard.reopen()
    shard.write([remove(b"k")])


def test_a_compacted_shard_has_its_rows_and_its_epoch_and_no_byte_of_what_was_deleted(
    full: Shard, shard_path: Path
) -> None:
    before, epoch = full.statistics(), full.epoch
    assert copies_of(SECRET, shard_path) > 0

    full.compact()

    assert rows_of(full) == ROWS
    assert copies_of(SECRET, shard_path) == 0
    after = full.statistics()
    assert (after.entries, after.bytes_free) == (before.entries, 0)
    assert after.bytes_used == before.bytes_used - before.bytes_free
    [data] = data_files(shard_path)
    assert data.stat().st_size == after.bytes_used
    assert full.epoch == epoch
    assert full.write([put({b"k000": b"new"})]) == [None]
    full.reopen()
    assert (rows_of(full), full.epoch) == (ROWS | {b"k000": b"new"}, epoch + 1)


def test_a_shard_may_be_compacted_again_and_again(full: Shard, shard_path: Path) -> None:
    for number in range(3):
        full.write([put({b"k%03d" % number: b"%d" % number})])
        full.compact()

    assert rows_of(full) == ROWS | {b"k000": b"0", b"k001": b"1", b"k002": b"2"}
    assert len(data_files(shard_path)) == 1


def test_a_read_in_progress_ends_in_its_own_time_and_the_next_one_sees_the_new_file(
    full: Shard, shard_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_module, "READ_SECONDS_MAX", 60.0)
    former = generations.locate(shard_path)
    compacting = threading.Thread(target=full.compact)

    with full.read() as txn:
        compacting.start()
        while generations.locate(shard_path) == former:
            pass
        full.write([put({b"k000": b"new"})])
        assert txn.get(b"k000") == ROWS[b"k000"]
        assert rows_of(full)[b"k000"] == b"new"

    compacting.join(HANG_SECONDS)
    assert data_files(shard_path) != [former]
    assert len(data_files(shard_path)) == 1


def test_a_read_that_lasts_is_ended_and_may_read_again(full: Shard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_module, "READ_SECONDS_MAX", 0.0)

    def read_while_it_is_compacted() -> None:
        with full.read() as txn:
            full.compact()
            txn.get(b"k000")

    with pytest.raises(ShardStopped):
        read_while_it_is_compacted()

    assert rows_of(full) == ROWS


@pytest.mark.parametrize("stopped", ["writing", "compacting"])
def test_an_owner_that_was_stopped_before_a_takeover_and_a_compaction_is_fenced(
    tmp_path: Path, stopped: str
) -> None:
    path = tmp_path / "shard"
    command = [sys.executable, "-c", ZOMBIE, str(path), stopped]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as zombie:
        os.waitid(os.P_PID, zombie.pid, os.WSTOPPED)

        heir = open_shard(path, 0, 1, "the heir", map_bytes=1 << 26)
        heir.write([put(ROWS)])
        heir.compact()

        zombie.send_signal(signal.SIGCONT)
        said, _ = zombie.communicate(timeout=HANG_SECONDS)

    assert said == "fenced 1 2\n"
    heir.write([put({b"k000": b"new"})])
    heir.close()
    again = open_shard(path, 0, 1, "again", map_bytes=1 << 26)
    assert rows_of(again) == ROWS | {b"k000": b"new"}
    with again.read() as txn:
        assert txn.get(b"gone") is None
    assert len(data_files(path)) == 1
    again.close()


def test_an_opening_that_waited_for_a_compaction_takes_the_new_file_and_not_the_former(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, is_open = tmp_path / "shard", threading.Event()
    begin_write = environments.begin_write

    def begin_write_and_say_so(environment: lmdb.Environment) -> "lmdb.Transaction[bytes]":
        is_open.set()
        return begin_write(environment)

    monkeypatch.setattr(environments, "begin_write", begin_write_and_say_so)
    command = [sys.executable, "-c", SLOW_SWAP, str(path)]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as former,
        ThreadPoolExecutor(1) as pool,
    ):
        assert former.stdout is not None
        assert former.stdout.readline() == "swapping\n"
        opening = pool.submit(open_shard, path, 0, 1, "the heir", map_bytes=1 << 26)
        assert is_open.wait(HANG_SECONDS)
        # Which of the two comes first from here on does not matter: the former file is open.
        said, _ = former.communicate("go on\n", timeout=HANG_SECONDS)
        heir = opening.result(HANG_SECONDS)

    assert said.splitlines()[-1] in ("fenced 1 2", "wrote")
    expected = ROWS | ({b"k000": b"wrote"} if said.endswith("wrote\n") else {})
    assert (rows_of(heir), heir.epoch) == (expected, 2)
    heir.close()
    again = open_shard(path, 0, 1, "again", map_bytes=1 << 26)
    assert (rows_of(again), again.epoch) == (expected, 3)
    again.close()


def test_a_fenced_owner_compacts_nothing(full: Shard, shard_path: Path) -> None:
    code = "import sys; from pathlib import Path; from tests.storage.samples import open_shard; "
    code += "open_shard(Path(sys.argv[1]), 0, 1, 'the heir', map_bytes=1 << 26).close()"
    subprocess.run([sys.executable, "-c", code, str(shard_path)], check=True, timeout=HANG_SECONDS)
    former = generations.locate(shard_path)

    with pytest.raises(Fenced):
        full.compact()

    assert generations.locate(shard_path) == former
    assert len(data_files(shard_path)) == 1


def test_a_compaction_that_is_killed_at_any_step_leaves_the_whole_shard(tmp_path: Path) -> None:
    shard = open_shard(tmp_path / "shard", 0, 1, "the test", map_bytes=1 << 26)
    shard.write([put(ROWS)])
    shard.close()
    [former] = data_files(tmp_path / "shard")

    (tmp_path / "killed").mkdir()
    killed = kill_at_each_call(tmp_path / "shard", tmp_path / "killed", "compact")

    generations_left: list[bool] = []
    for path in killed:
        shard = open_shard(path, 0, 1, "the test", map_bytes=1 << 26)
        assert (rows_of(shard), shard.epoch) == (ROWS, 3)
        shard.close()
        [data] = data_files(path)
        generations_left.append(data.parent.name == former.parent.name)
    assert len(killed) >= 8
    assert set(generations_left) == {True, False}
    assert generations_left == sorted(generations_left, reverse=True), "the former one up to the swap"


def test_a_store_whose_making_is_killed_at_any_step_opens_as_one_that_is_whole(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "killed").mkdir()

    killed = kill_at_each_call(tmp_path / "empty", tmp_path / "killed", "make")

    for path in killed:
        shard = Store.create_or_open(path, 1).open_shard(0, "the test")
        shard.check_integrity()
        shard.close()
        assert [entry.name for entry in (path / "shards").iterdir()] == ["0000"]
    assert len(killed) >= 10


def lose_content(path: Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


LOSSES: dict[str, Callable[[Path], object]] = {
    "the directory": shutil.rmtree,
    "all that is in it": lose_content,
    "the name of the generation": lambda path: (path / "current").unlink(),
    "what the name says": lambda path: (path / "current").write_bytes(b"\n"),
    "the generation": lambda path: shutil.rmtree(data_files(path)[0].parent),
    "the file": lambda path: data_files(path)[0].unlink(),
    "what is in the file": lambda path: os.truncate(data_files(path)[0], 0),
}


@pytest.mark.parametrize("lost", LOSSES)
def test_a_shard_that_lost_something_is_an_error_and_never_a_fresh_one(tmp_path: Path, lost: str) -> None:
    store = Store.create_or_open(tmp_path, 2)
    store.open_shard(0, "the test").close()
    LOSSES[lost](store.shard_path(0))

    for again in (store, Store.create_or_open(tmp_path)):
        with pytest.raises(StoreInvalid):
            again.open_shard(0, "the test")

    store.open_shard(1, "the test").close()


def test_a_file_without_the_shards_header_is_not_taken_for_a_fresh_one(tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path, 2)
    [data] = data_files(store.shard_path(0))
    code = "import lmdb, sys; lmdb.open(sys.argv[1]).close()"
    shutil.rmtree(data.parent)
    data.parent.mkdir()
    subprocess.run([sys.executable, "-c", code, str(data.parent)], check=True, timeout=HANG_SECONDS)

    with pytest.raises(StoreInvalid, match="no shard header"):
        store.open_shard(0, "the test")


def test_a_disk_without_room_is_an_error_with_both_numbers_and_the_shard_goes_on(
    full: Shard, shard_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = full.statistics()
    bytes_needed = size.bytes_used - size.bytes_free
    leave_free(monkeypatch, bytes_needed - 1)

    with pytest.raises(DiskFull) as caught:
        full.compact()

    assert (caught.value.bytes_needed, caught.value.bytes_free) == (bytes_needed, bytes_needed - 1)
    assert full.write([put({b"k000": b"new"})]) == [None]
    assert len(data_files(shard_path)) == 1
    leave_free(monkeypatch, bytes_needed)
    full.compact()
    assert rows_of(full)[b"k000"] == b"new"


def test_a_map_grows_before_it_is_full_at_a_moment_without_reads(tmp_path: Path) -> None:
    shard = open_shard(tmp_path / "small", 0, 1, "the test", map_bytes=1 << 20)
    shard.write([put({b"k": bytes(900_000)})])

    with shard.read() as txn:
        shard.write([put({b"p": b"small"})])
        assert len(txn.get(b"k") or b"") == 900_000
    assert shard.statistics().bytes_map == 1 << 20

    shard.write([put({b"q": b"small"})])

    assert shard.statistics().bytes_map == 1 << 21
    assert shard.statistics().full_maps == 0
    shard.close()


def test_statistics_count_readers_and_how_far_behind_they_are_and_name_those_that_last(
    full: Shard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert (full.statistics().reader_lag, full.statistics().long_reads) == (0, ())
    monkeypatch.setattr(shard_module, "READ_SECONDS_MAX", -1.0)

    with full.read():
        for number in range(3):
            full.write([put({b"k000": b"%d" % number})])
        size = full.statistics()

    assert size.reader_slots >= 1
    assert size.reader_lag == 3
    assert threading.current_thread().name in size.long_reads
    reports = [record for record in caplog.records if "lasts" in record.message]
    assert len(reports) == 1
