"""Migrates a shard of an older schema to this one.

Schema 1 had its environment in the shard's own directory; opening moves it. Schemas 1 and 2 left
all rows plain; here each model gets a data key and its rows are sealed, model by model, so that a
model with a data key is finished. The plain bytes stay in free pages until the compaction at the end.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from populace.storage.records import erasures, keys
from populace.storage.records.records import IdentityRecord
from populace.storage.records.sealing import Sealing
from populace.storage.records.transaction import WriteTransaction
from populace.storage.shards.shard import Shard

logger = logging.getLogger(__name__)

MODELS_A_COMMIT = 64


def migrate_shard(path: Path, number: int, shard_count: int, sealing: Sealing) -> None:
    """Migrate a shard of any older schema; resumes after a crash, and is quick if nothing is left to do.

    ``sealing`` must open plain rows. Raises as ``Shard.open`` does, and ``DiskFull``.
    """
    owner = f"the migration to schema {keys.SCHEMA}"
    shard = Shard.open(path, number, shard_count, owner, sealing=sealing, create=False)
    try:
        plain = _plain_models(shard)
        if plain:
            logger.info("sealing %d models of shard %d in %s", len(plain), number, path)
        for start in range(0, len(plain), MODELS_A_COMMIT):
            models = plain[start : start + MODELS_A_COMMIT]
            for outcome in shard.write([_sealer(tenant, name, sealing) for tenant, name in models]):
                if outcome is not None:
                    raise outcome
        if shard.statistics().erased is not None:
            shard.compact()
    finally:
        shard.close()


def _plain_models(shard: Shard) -> list[tuple[str, str]]:
    with shard.read() as txn:
        identities = [IdentityRecord.unpack(data) for _, data in txn.scan(keys.all_identities())]
        return [
            (identity.tenant, identity.name)
            for identity in identities
            if txn.get(keys.data_key(identity.tenant, identity.name)) is None
        ]


def _sealer(tenant: str, name: str, sealing: Sealing) -> Callable[[WriteTransaction], None]:
    data_key = sealing.new_data_key().pack()

    def seal(txn: WriteTransaction) -> None:
        prefixes = keys.sealed_prefixes(tenant, name)
        rows = [row for prefix in prefixes for row in txn.scan(prefix)]
        waiting = erasures.read_waiting(txn) or erasures.Erased(0, 0)
        txn.put(keys.ERASED_KEY, waiting._replace(models=waiting.models + 1).pack())
        txn.put(keys.data_key(tenant, name), data_key)
        for key, value in rows:
            txn.put(key, value)

    return seal
