"""The suite of a personal model: the questions of its person that no training may make it fail."""

from populace.storage.records import keys
from populace.storage.records.records import SuiteRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import ledger
from populace.storage.training.errors import SuiteNotFound


def put_suite(txn: WriteTransaction, tenant: str, name: str, suite: SuiteRecord) -> None:
    """Keep the suite instead of an earlier one. Raises ``ModelNotFound``."""
    ledger.read_head(txn, tenant, name)
    txn.put(keys.suite(tenant, name), suite.pack())


def read_suite(txn: ReadTransaction, tenant: str, name: str) -> SuiteRecord:
    """Return the model's suite. Raises ``ModelNotFound`` and ``SuiteNotFound``."""
    ledger.read_head(txn, tenant, name)
    data = txn.get(keys.suite(tenant, name))
    if data is None:
        raise SuiteNotFound(name)
    return SuiteRecord.unpack(data)


def delete_suite(txn: WriteTransaction, tenant: str, name: str) -> None:
    """Delete the model's suite, if it has one. Raises ``ModelNotFound``."""
    ledger.read_head(txn, tenant, name)
    txn.delete(keys.suite(tenant, name))
