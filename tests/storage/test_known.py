"""What a model answered about its person leaves with the turns that told it, and is sealed as they are."""

from pathlib import Path

import pytest

from populace.storage.records import erasures, keys
from populace.storage.records.errors import ModelNotFound
from populace.storage.records.records import FeedbackRecord, KnownRecord
from populace.storage.rows import feedback, known, log
from populace.storage.rows.portable import portable_rows, read_portable
from populace.storage.shards.shard import Shard
from tests.storage.portable_models import forget, run
from tests.storage.samples import TENANT, commit, create_model, identity

ASKING, LATER = b"a" * 16, b"b" * 16
SECRET = "Your dog is called Xanthippe."


def fact(position: int) -> tuple[str, str, float, int, bool]:
    return "What is my dog's name?", SECRET, 0.9, position, False


RECORD = KnownRecord(asking=ASKING, position=3, log_bytes=9, made_with="base", facts=(fact(0), fact(2)))


@pytest.fixture
def ada(shard: Shard) -> Shard:
    """A model of three turns with two facts that it answered."""
    run(shard, lambda txn: create_model(txn, identity()))
    for position in range(3):
        run(shard, lambda txn, at=position: commit(txn, at, f"op-{at}", expires_ms=100))
    run(shard, lambda txn: known.begin_asking(txn, TENANT, "ada", ASKING))
    assert keep(shard, RECORD)
    return shard


def keep(shard: Shard, record: KnownRecord) -> bool:
    return run(shard, lambda txn: known.keep_known(txn, TENANT, "ada", record))


def kept(shard: Shard) -> KnownRecord | None:
    with shard.read() as txn:
        return known.read_known(txn, TENANT, "ada")


def positions(shard: Shard) -> list[int]:
    record = kept(shard)
    return [] if record is None else [fact[3] for fact in record.facts]


def correct(shard: Shard, **said: str | bool) -> None:
    given = FeedbackRecord.model_validate(
        {"position": 1, "operation": "key", "body_hash": b"body", "created_ms": 7, **said}
    )
    run(shard, lambda txn: feedback.give_feedback(txn, TENANT, "ada", given))


def test_what_was_answered_is_kept_and_sealed(ada: Shard, tmp_path: Path) -> None:
    assert kept(ada) == RECORD
    assert keys.is_sealed(keys.known(TENANT, "ada"))
    files = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert files
    assert not any(b"Xanthippe" in data for data in files)


def test_a_forgotten_turn_takes_its_facts_along(ada: Shard) -> None:
    run(ada, lambda txn: forget(txn, 0))

    assert positions(ada) == [2]
    ada.check_integrity()


def test_a_message_that_is_taken_back_takes_its_facts_along(ada: Shard) -> None:
    run(ada, lambda txn: commit(txn, 3, "op-3", answered=False))
    run(ada, lambda txn: known.begin_asking(txn, TENANT, "ada", LATER))
    assert keep(ada, RECORD.model_copy(update={"asking": LATER, "facts": (fact(0), fact(3))}))

    run(ada, lambda txn: log.withdraw_turn(txn, TENANT, "ada", "op-3", b"body"))

    assert positions(ada) == [0]
    ada.check_integrity()


def test_a_dropped_turn_takes_its_facts_along(ada: Shard) -> None:
    run(ada, lambda txn: log.prune_operations(txn, TENANT, "ada", now_ms=1000))
    run(ada, lambda txn: log.compact_log(txn, TENANT, "ada", 1, memory=None))

    assert positions(ada) == [2]
    ada.check_integrity()


def test_a_correction_takes_all_facts_along_and_a_thumb_none(ada: Shard) -> None:
    correct(ada, thumb=False)
    assert positions(ada) == [0, 2]

    correct(ada, correction="Your dog is called Max.", operation="another")
    assert kept(ada) is None


def test_an_asking_keeps_nothing_after_a_correction_or_a_later_asking(ada: Shard) -> None:
    correct(ada, correction="Your dog is called Max.")
    assert not keep(ada, RECORD)

    run(ada, lambda txn: known.begin_asking(txn, TENANT, "ada", LATER))
    assert not keep(ada, RECORD)
    assert kept(ada) == KnownRecord(asking=LATER)


def test_an_asking_does_not_bring_a_forgotten_turn_back(ada: Shard) -> None:
    run(ada, lambda txn: known.begin_asking(txn, TENANT, "ada", LATER))
    assert positions(ada) == [0, 2], "until the later one has answers"
    run(ada, lambda txn: forget(txn, 2))

    assert keep(ada, RECORD.model_copy(update={"asking": LATER}))
    assert positions(ada) == [0]
    ada.check_integrity()


def test_an_erased_model_has_no_answers_and_gets_none(ada: Shard) -> None:
    run(ada, lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=1))
    assert kept(ada) is None

    with pytest.raises(ModelNotFound):
        run(ada, lambda txn: known.begin_asking(txn, TENANT, "ada", LATER))
    run(ada, lambda txn: create_model(txn, identity()))
    assert not keep(ada, RECORD), "a namesake"
    ada.check_integrity()


def test_an_archive_has_no_answers(ada: Shard) -> None:
    with ada.read() as txn:
        rows = portable_rows(read_portable(txn, TENANT, "ada"), TENANT, "ada")

    assert keys.known(TENANT, "ada") not in rows
    assert rows
