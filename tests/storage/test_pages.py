"""A snapshot from outside is there also when the owner makes the file larger at the same moment."""

from pathlib import Path

from populace.storage.shards import pages
from populace.storage.shards.rows import Reader
from tests.storage.processes import line_of, running
from tests.storage.samples import open_shard

WRITER = """
import sys
from pathlib import Path
from tests.storage.samples import open_shard

shard = open_shard(Path(sys.argv[1]), create=False)
shard.write([lambda txn: txn.put(b"k", bytes(40_000_000))])
print("written", flush=True)
shard.close()
"""


def test_a_file_that_grows_between_its_opening_and_the_first_read_is_read(tmp_path: Path) -> None:
    path = tmp_path / "shard"
    open_shard(path).close()

    with pages._open(path) as environment:
        with running(WRITER, path) as writer:
            assert line_of(writer) == "written"
        with pages._begin(environment) as transaction:
            assert len(Reader(transaction).get(b"k") or b"") == 40_000_000
