"""A disk without room for a compaction, by a page more or less: the process lives, and so does the shard."""

from pathlib import Path

import pytest

from tests.limits import HANG_SECONDS
from tests.storage.processes import running
from tests.storage.small_disk import OWN_MOUNTS, may_mount

COMPACTING = """
import shutil, sys
from pathlib import Path
from populace.storage.records.errors import DiskFull, DiskRefused, ShardStopped
from populace.storage.store import Store
from tests.storage.small_disk import mount

PAGE = 4096
path = Path(sys.argv[1])
mount(path, 16 << 20)
ballast = path / "ballast"
store = Store.create_or_open(path / "store", 1)
shard = store.open_shard(0, "the test")
shard.write([lambda txn: txn.put(b"kept", b"value" * 50_000)])
for spare in range(0, 24 * PAGE, PAGE):
    shard.write([lambda txn: txn.put(b"dropped", bytes(1 << 20))])
    shard.write([lambda txn: txn.delete(b"dropped")])
    size = shard.statistics()
    live = size.bytes_used - size.bytes_free
    ballast.write_bytes(bytes(shutil.disk_usage(path).free - live - spare))
    try:
        shard.compact()
        outcome = "compacted"
    except (DiskFull, DiskRefused) as error:
        outcome = "refused"
    except ShardStopped:
        outcome = "stopped"
        shard.close()
        shard = store.recover_shard(0, "the test")
    with shard.read() as txn:
        assert txn.get(b"kept") == b"value" * 50_000
    [directory] = [entry for entry in shard.path.iterdir() if entry.is_dir()]
    ballast.unlink()
    print(outcome, flush=True)
shard.close()
"""


def test_a_compaction_that_fills_the_disk_neither_ends_the_process_nor_keeps_the_shard_shut(
    tmp_path: Path,
) -> None:
    if not may_mount(tmp_path):
        pytest.skip("this user may not mount a file system")
    with running(COMPACTING, tmp_path, prefix=OWN_MOUNTS) as process:
        said, _ = process.communicate(timeout=HANG_SECONDS)

    assert process.returncode == 0
    outcomes = said.decode().split()
    assert len(outcomes) == 24
    assert outcomes[0] == "refused"
    assert outcomes[-1] == "compacted"
    assert "stopped" in outcomes, "no run met the disk that is full when the copy becomes the shard"
