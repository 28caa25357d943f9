"""A writer whose disk fails once. It is a module of its own because it runs in a process of its own.

Everything it does may be done again: after the fault it does all of it again, as its callers would.
"""

from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from populace.storage.records.errors import ModelExists
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import ledger
from populace.storage.shards.shard import Shard
from populace.storage.store import Store
from tests.storage.samples import FOREVER_MS, TENANT, create_model, identity, interaction

OPERATIONS = tuple(f"op-{number}" for number in range(4))


class Report(NamedTuple):
    """What was acknowledged until ``error`` came, or until all was done."""

    acknowledged: tuple[str, ...]
    error: Exception | None


class Writer:
    """Makes a store and a model, takes turns, and compacts the shard in between."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._store: Store | None = None
        self._shard: Shard | None = None

    def work(self) -> Report:
        acknowledged: list[str] = []
        try:
            shard = self._open()
            shard.write([self._create])
            for position, operation in enumerate(OPERATIONS):
                [outcome] = shard.write([lambda txn, p=position, o=operation: _turn(txn, p, o)])
                assert not isinstance(outcome, Exception), outcome
                acknowledged.append(operation)
                if position == 1:
                    shard.compact()
        except Exception as error:
            return Report(tuple(acknowledged), error)
        return Report(tuple(acknowledged), None)

    def recover(self) -> tuple[str, ...]:
        """Open anew, as a host does after an error; answers the operations that are in the log."""
        if self._shard is not None:
            self._shard.reopen()
        shard = self._open()
        shard.check_integrity()
        with shard.read() as txn:
            if ledger.read_model(txn, TENANT, "ada") is None:
                return ()
            return tuple(made.operation for made in ledger.read_log(txn, TENANT, "ada"))

    def close(self) -> None:
        assert self._shard is not None
        self._shard.check_integrity()
        self._shard.close()

    def _open(self) -> Shard:
        if self._shard is None:
            self._store = Store.create_or_open(self._path, 1)
            self._shard = self._store.open_shard(0, "the writer")
        return self._shard

    def _create(self, txn: WriteTransaction) -> None:
        assert self._store is not None
        try:
            create_model(txn, identity(), sealing=self._store.sealing)
        except ModelExists:
            return


def serve(path: Path, parent: Connection) -> None:
    """Work when told, report, recover when told that the disk is well, do all again, and report."""
    writer = Writer(path)
    parent.recv()
    _send(parent, writer.work())
    parent.recv()
    _send(parent, writer.recover())
    _send(parent, writer.work())
    writer.close()


def _send(parent: Connection, message: object) -> None:
    try:
        parent.send(message)
    except OSError:
        # The fault waited for a write(2) that the work never made, and this was it.
        parent.send(message)


def _turn(txn: WriteTransaction, position: int, operation: str) -> None:
    ledger.commit_turn(
        txn,
        TENANT,
        "ada",
        # Enough for overflow pages, which are written by another system call than single ones.
        interaction(position, operation, "long " * 10_000),
        body_hash=b"body",
        expected_position=position,
        expires_ms=FOREVER_MS,
        now_ms=0,
    )
