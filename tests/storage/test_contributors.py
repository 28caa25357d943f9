"""Who may be learned from said so, and a copy of them said nothing."""

import pytest

from populace.storage.records import erasures, keys
from populace.storage.records.errors import ModelNotFound
from populace.storage.rows import ledger
from populace.storage.rows.contributors import (
    ContributorRecord,
    read_contributor,
    set_consent,
    walk_contributors,
)
from populace.storage.rows.portable import portable_rows, read_portable
from populace.storage.shards.shard import Shard
from tests.storage.portable_models import run
from tests.storage.samples import TENANT, create_model, identity

ID, OTHER_ID = b"1" * 16, b"2" * 16


@pytest.fixture
def ada(shard: Shard) -> Shard:
    for name in ("ada", "bob"):
        run(shard, lambda txn, name=name: create_model(txn, identity(name)))
    return shard


def say(shard: Shard, *, agrees: bool, now_ms: int, new_id: bytes = ID) -> ContributorRecord | None:
    return run(
        shard, lambda txn: set_consent(txn, TENANT, "ada", agrees=agrees, new_id=new_id, now_ms=now_ms)
    )


def contributors(shard: Shard) -> list[str]:
    with shard.read() as txn:
        return [name for name, _ in walk_contributors(txn, TENANT)]


def test_a_model_is_learned_from_when_it_was_said_and_no_other(ada: Shard) -> None:
    assert contributors(ada) == []
    assert say(ada, agrees=False, now_ms=6) is None, "it never agreed"

    said = say(ada, agrees=True, now_ms=7)

    assert said == ContributorRecord(id=ID, agrees=True, since_ms=7)
    assert say(ada, agrees=True, now_ms=8, new_id=OTHER_ID) == said, "it agreed before"
    assert contributors(ada) == ["ada"]
    with ada.read() as txn:
        assert [model.contributes for model in ledger.list_models(txn, TENANT)] == [True, False]
        assert read_contributor(txn, TENANT, "bob") is None
        with pytest.raises(ModelNotFound):
            read_contributor(txn, TENANT, "nobody")
    ada.check_integrity()


def test_who_withdraws_keeps_the_id_that_revisions_name(ada: Shard) -> None:
    say(ada, agrees=True, now_ms=7)

    assert say(ada, agrees=False, now_ms=8) == ContributorRecord(id=ID, agrees=False, since_ms=8)

    assert contributors(ada) == []
    again = say(ada, agrees=True, now_ms=9, new_id=OTHER_ID)
    assert again == ContributorRecord(id=ID, agrees=True, since_ms=9)
    ada.check_integrity()


def test_of_who_is_erased_no_id_is_left(ada: Shard) -> None:
    say(ada, agrees=True, now_ms=7)

    run(ada, lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=9))

    assert contributors(ada) == []
    with ada.read() as txn:
        assert txn.get(keys.contributor(TENANT, "ada")) is None
    with pytest.raises(ModelNotFound):
        say(ada, agrees=True, now_ms=10)
    ada.check_integrity()


def test_a_fork_does_not_agree_of_itself(ada: Shard) -> None:
    say(ada, agrees=True, now_ms=7)

    with ada.read() as txn:
        rows = portable_rows(read_portable(txn, TENANT, "ada"), TENANT, "fork")

    assert keys.identity(TENANT, "fork") in rows
    assert keys.contributor(TENANT, "fork") not in rows


def test_a_consent_without_an_id_is_noticed(ada: Shard) -> None:
    row = ContributorRecord(id=b"", agrees=True, since_ms=7)
    run(ada, lambda txn: txn.put(keys.contributor(TENANT, "ada"), row.pack()))

    with pytest.raises(AssertionError):
        ada.check_integrity()

    run(ada, lambda txn: txn.delete(keys.contributor(TENANT, "ada")))
    ada.check_integrity()
