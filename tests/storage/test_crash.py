"""A killed process loses nothing that it acknowledged. Power loss: ``test_power_loss.py``."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from populace.storage.rows import ledger
from tests.storage.samples import TENANT, open_shard

WRITER = """
import os, sys, threading
from pathlib import Path
from populace.storage.rows import ledger
from populace.storage.shards.committer import Committer
from tests.storage.samples import commit, create_model, identity, open_shard

committer = Committer(open_shard(Path(sys.argv[1]), 0, 1, "the victim"))

def work(name):
    committer.submit(lambda txn: create_model(txn, identity(name))).result()
    position = 0
    while True:
        operation = f"{name}-{position}"
        committer.submit(lambda txn: commit(txn, position, operation, name=name)).result()
        os.write(1, f"{name} {position}\\n".encode())
        position += 1

for number in range(8):
    threading.Thread(target=work, args=(f"m{number}",)).start()
"""


@pytest.mark.parametrize("acknowledged_min", [1, 100, 500])
def test_every_acknowledged_turn_is_there_after_kill_9(tmp_path: Path, acknowledged_min: int) -> None:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", WRITER, str(tmp_path)]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        lines = [victim.stdout.readline() for _ in range(acknowledged_min)]
        victim.send_signal(signal.SIGKILL)
        lines += victim.stdout.read().splitlines()
    acknowledged = {tuple(line.split()) for line in lines}
    assert len(acknowledged) >= acknowledged_min

    shard = open_shard(tmp_path, 0, 1, "the heir")
    shard.check_integrity()
    with shard.read() as txn:
        for name, position in acknowledged:
            model, at = name.decode(), int(position)
            [interaction] = ledger.read_log(txn, TENANT, model, start=at, limit=1)
            assert interaction.operation == f"{model}-{at}"
    shard.close()
