"""One writer, also when the former one is stopped at any moment and may come back."""

import random
import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest

from populace.storage.records.errors import StoreInUse
from populace.storage.rows import ledger
from populace.storage.shards import opening
from populace.storage.shards.shard import Shard
from tests.limits import HANG_SECONDS
from tests.storage.processes import line_of, running, say, wait_stopped
from tests.storage.samples import TENANT, commit, open_shard
from tests.torture import rounds

ROUNDS = 20
MODELS = 4
HEIR_TURNS = 5

# Each line is one write(2), so whoever is stopped has said everything or nothing of a turn.
ZOMBIE = """
import os, random, sys, threading, time
from pathlib import Path
from populace.storage.rows import ledger
from populace.storage.shards.committer import Committer
from populace.storage.records.errors import Fenced
from tests.storage.samples import commit, create_model, identity, open_shard

committer = Committer(open_shard(Path(sys.argv[1]), 0, 1, "the zombie"))

def work(name):
    committer.submit(lambda txn: create_model(txn, identity(name))).result()
    position = 0
    while True:
        operation = f"zombie-{name}-{position}"
        try:
            committer.submit(lambda txn: commit(txn, position, operation, name=name)).result()
        except Fenced as error:
            os.write(1, f"fenced {name} {error.held} {error.stored}\\n".encode())
            return
        os.write(1, f"done {name} {operation}\\n".encode())
        position += 1
        time.sleep(random.uniform(0, 0.01))

for number in range(int(sys.argv[2])):
    threading.Thread(target=work, args=(f"m{number}",)).start()
"""

HOLDER = """
import os, signal, sys, time
from pathlib import Path
from tests.storage.samples import open_shard

def hold(txn):
    txn.put(b"half", b"done")
    print("held", flush=True)
    if sys.argv[2] == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)
    while sys.argv[2] == "busy":
        os.getppid()
    sys.stdin.readline()
    txn.delete(b"half")

shard = open_shard(Path(sys.argv[1]), 0, 1, "the holder")
while True:
    shard.write([hold])
    print("committed", flush=True)
    sys.stdin.readline()
"""


def operations_of(shard: Shard, name: str) -> list[str]:
    with shard.read() as txn:
        return [made.operation for made in ledger.read_log(txn, TENANT, name, limit=10**6)]


@pytest.mark.parametrize("round_number", rounds(ROUNDS, sample=4))
def test_a_stopped_owner_that_comes_back_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, round_number: int
) -> None:
    monkeypatch.setattr(opening, "LOOK_SECONDS", 0.2)
    chance = random.Random(round_number)
    names = [f"m{number}" for number in range(MODELS)]
    with running(ZOMBIE, tmp_path, MODELS) as zombie:
        lines = [line_of(zombie) for _ in range(chance.randrange(MODELS * 2, 200))]
        zombie.send_signal(signal.SIGSTOP)
        wait_stopped(zombie)

        heir = open_shard(tmp_path, 0, 1, "the heir")
        before = {name: operations_of(heir, name) for name in names}
        for turn in range(HEIR_TURNS):
            heir.write(
                [
                    lambda txn, name=name, turn=turn: commit(
                        txn, len(before[name]) + turn, f"heir-{name}-{turn}", name=name
                    )
                    for name in names
                ]
            )

        zombie.send_signal(signal.SIGCONT)
        said, _ = zombie.communicate(timeout=HANG_SECONDS)
    lines += said.decode().splitlines()
    killed = zombie.returncode == -signal.SIGKILL

    heir.check_integrity()
    for name in names:
        acknowledged = [line.split()[2] for line in lines if line.startswith(f"done {name} ")]
        # Who was killed in a commit may have made one turn durable that nobody was told of.
        untold = [f"zombie-{name}-{len(acknowledged)}"] if killed else []
        assert before[name] in (acknowledged, acknowledged + untold)
        heirs = [f"heir-{name}-{turn}" for turn in range(HEIR_TURNS)]
        assert operations_of(heir, name) == before[name] + heirs
    fenced = [line for line in lines if line.startswith("fenced")]
    assert sorted(fenced) == ([] if killed else [f"fenced {name} 1 2" for name in names])
    heir.close()


def test_an_owner_that_was_stopped_between_transactions_lives_and_is_fenced(tmp_path: Path) -> None:
    code = ZOMBIE.replace("time.sleep(random.uniform(0, 0.01))", "sys.stdin.readline()")
    with running(code, tmp_path, 1) as zombie:
        assert line_of(zombie) == "done m0 zombie-m0-0"
        zombie.send_signal(signal.SIGSTOP)
        wait_stopped(zombie)

        heir = open_shard(tmp_path, 0, 1, "the heir")
        zombie.send_signal(signal.SIGCONT)
        said, _ = zombie.communicate(b"\n", timeout=HANG_SECONDS)

    assert (said, zombie.returncode) == (b"fenced m0 1 2\n", 0)
    assert operations_of(heir, "m0") == ["zombie-m0-0"]
    heir.close()


def test_an_owner_that_is_stopped_inside_a_transaction_is_killed_and_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running(HOLDER, tmp_path, "stopped") as holder:
        assert line_of(holder) == "held"
        wait_stopped(holder)

        heir = open_shard(tmp_path, 0, 1, "the heir")

        assert holder.wait(HANG_SECONDS) == -signal.SIGKILL
    assert heir.epoch == 2
    with heir.read() as txn:
        assert txn.get(b"half") is None
    assert f"process {holder.pid} ({sys.executable}" in caplog.text
    heir.close()


def test_an_owner_that_runs_is_named_left_alone_and_not_fenced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "LOOK_SECONDS", 0.2)
    monkeypatch.setattr(opening, "WAIT_SECONDS_MAX", 1.0)
    with running(HOLDER, tmp_path, "running") as holder:
        assert line_of(holder) == "held"
        before = set(threading.enumerate())

        with pytest.raises(StoreInUse, match=rf"process {holder.pid} \(.*Stop it first"):
            open_shard(tmp_path, 0, 1, "the heir")

        [waiting] = [
            thread
            for thread in threading.enumerate()
            if thread.name.startswith("populace-open") and thread not in before
        ]
        say(holder, "commit")
        assert line_of(holder) == "committed"
        waiting.join()
        say(holder, "again")
        assert line_of(holder) == "held"
        say(holder, "commit")
        assert line_of(holder) == "committed"

    heir = open_shard(tmp_path, 0, 1, "the heir")
    assert heir.epoch == 2
    heir.close()


def test_a_holder_that_cannot_be_seen_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "WAIT_SECONDS_MAX", 0.0)
    free = threading.Event()

    with pytest.raises(StoreInUse, match="cannot be seen from here"):
        opening.open_watched(tmp_path, lambda _: free.wait())

    free.set()


def test_a_traced_owner_that_gets_on_is_not_taken_for_a_stopped_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "WAIT_SECONDS_MAX", 3.0)
    tracer = ["strace", "-f", "-o", "/dev/null", "-e", "trace=getppid"]
    with running(HOLDER, tmp_path, "busy", prefix=tracer) as traced:
        assert line_of(traced) == "held"

        with pytest.raises(StoreInUse, match=r"in use by process "):
            open_shard(tmp_path, 0, 1, "the heir")

        [holder] = psutil.Process(traced.pid).children()
        assert holder.is_running()
        holder.kill()
