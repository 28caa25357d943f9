"""Rows of what a model knows about its person, kept so that it is shown before it is asked anew.

A fact is kept with the position of the turn that tells it, and leaves with that turn: in the transaction that
forgets or drops it. A correction may contradict any fact, so all of them leave with it. Asking takes a while,
so an asking begins with a number of its own and keeps its answers only if the row still has that: not if the
model was corrected meanwhile, erased, or created anew.
"""

from collections.abc import Container

from populace.storage.records import keys
from populace.storage.records.records import KnownRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import ledger


def read_known(txn: ReadTransaction, tenant: str, name: str) -> KnownRecord | None:
    data = txn.get(keys.known(tenant, name))
    return None if data is None else KnownRecord.unpack(data)


def begin_asking(txn: WriteTransaction, tenant: str, name: str, asking: bytes) -> None:
    """Let this asking, and no earlier one, keep its answers. Raises ``ModelNotFound``."""
    ledger.read_head(txn, tenant, name)
    kept = read_known(txn, tenant, name) or KnownRecord(asking=asking)
    _put(txn, tenant, name, kept.model_copy(update={"asking": asking}))


def keep_known(txn: WriteTransaction, tenant: str, name: str, record: KnownRecord) -> bool:
    """Keep the answers, without those whose turn is gone; return False if they may not be kept any more."""
    kept = read_known(txn, tenant, name)
    if kept is None or kept.asking != record.asking:
        return False
    facts = tuple(fact for fact in record.facts if is_told(txn, tenant, name, fact[3]))
    _put(txn, tenant, name, record.model_copy(update={"facts": facts}))
    return True


def drop_of(txn: WriteTransaction, tenant: str, name: str, positions: Container[int]) -> None:
    """Drop the facts that these turns tell."""
    kept = read_known(txn, tenant, name)
    if kept is not None:
        facts = tuple(fact for fact in kept.facts if fact[3] not in positions)
        _put(txn, tenant, name, kept.model_copy(update={"facts": facts}))


def drop_all(txn: WriteTransaction, tenant: str, name: str) -> None:
    """Drop all facts; an asking that has begun keeps none."""
    txn.delete(keys.known(tenant, name))


def is_told(txn: ReadTransaction, tenant: str, name: str, position: int) -> bool:
    """Return whether the log has a turn at the position that was not forgotten."""
    turn = ledger.read_interaction(txn, tenant, name, position)
    return turn is not None and turn.forgotten is None


def _put(txn: WriteTransaction, tenant: str, name: str, record: KnownRecord) -> None:
    txn.put(keys.known(tenant, name), record.pack())
