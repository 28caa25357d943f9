"""What somebody thought of a reply is kept once, with the reply and for as long."""

from typing import Any

import pytest

from populace.storage.records import erasures, keys
from populace.storage.records.errors import (
    FeedbackFull,
    InteractionNotFound,
    ModelNotFound,
    OperationConflict,
)
from populace.storage.records.records import FeedbackRecord, HeadRecord
from populace.storage.rows import feedback, ledger, log
from populace.storage.shards.shard import Shard
from tests.storage.portable_models import run
from tests.storage.samples import TENANT, commit, create_model, identity

TURNS = 5
EXPIRY_MS = 100


@pytest.fixture
def ada(shard: Shard) -> Shard:
    """A model of five turns whose operation ids have expired."""
    run(shard, lambda txn: create_model(txn, identity()))
    for position in range(TURNS):
        run(shard, lambda txn, at=position: commit(txn, at, f"op-{at}", expires_ms=EXPIRY_MS))
    run(shard, lambda txn: log.prune_operations(txn, TENANT, "ada", now_ms=1000))
    return shard


def on(position: int, operation: str = "key-1", body: bytes = b"body", **said: Any) -> FeedbackRecord:
    return FeedbackRecord(
        position=position, operation=operation, body_hash=body, created_ms=7, **(said or {"thumb": True})
    )


def give(shard: Shard, record: FeedbackRecord, name: str = "ada") -> FeedbackRecord:
    return run(shard, lambda txn: feedback.give_feedback(txn, TENANT, name, record))


def kept(shard: Shard, start: int = 0) -> list[FeedbackRecord]:
    with shard.read() as txn:
        return list(feedback.walk_feedback(txn, TENANT, "ada", start))


def head(shard: Shard) -> HeadRecord:
    with shard.read() as txn:
        return ledger.read_head(txn, TENANT, "ada")


def test_feedback_is_kept_in_the_order_of_the_log(ada: Shard) -> None:
    last = give(ada, on(4, rating=0.5, reward=-1.0))
    first = give(ada, on(0, thumb=False))
    middle = give(ada, on(2, correction="Dzień dobry."))

    assert kept(ada) == [first, middle, last]
    assert kept(ada, 1) == [middle, last]
    assert kept(ada, 2) == [middle, last]
    assert kept(ada, 3) == [last]
    assert kept(ada, 5) == []


def test_the_same_operation_again_is_answered_with_the_first(ada: Shard) -> None:
    first = give(ada, on(1))
    bytes_counted = head(ada).log_bytes

    again = give(ada, on(1).model_copy(update={"created_ms": 99}))

    assert again == first
    assert kept(ada) == [first]
    assert head(ada).log_bytes == bytes_counted


def test_the_same_operation_with_another_body_changes_nothing(ada: Shard) -> None:
    first = give(ada, on(1))

    with pytest.raises(OperationConflict):
        give(ada, on(1, body=b"other", thumb=False))

    assert kept(ada) == [first]


def test_what_is_given_later_is_later_whatever_the_clock_says(ada: Shard) -> None:
    times = [give(ada, on(1, f"key-{number}")).created_ms for number in range(3)]
    other = give(ada, on(2))

    assert times == [7, 8, 9]
    assert sorted(one.created_ms for one in kept(ada)) == [7, 7, 8, 9]
    assert other.created_ms == 7


def test_one_interaction_takes_so_much_feedback_and_no_more(ada: Shard) -> None:
    for number in range(feedback.FEEDBACK_MAX):
        give(ada, on(3, f"key-{number}"))

    with pytest.raises(FeedbackFull, match="16 times on the interaction 3 of `ada`"):
        give(ada, on(3, "key-more"))

    assert len(kept(ada)) == feedback.FEEDBACK_MAX
    give(ada, on(2, "key-more"))


@pytest.mark.parametrize("position", [-1, TURNS, 2**63 - 1])
def test_feedback_on_what_was_never_said_is_refused(ada: Shard, position: int) -> None:
    with pytest.raises(InteractionNotFound):
        give(ada, on(position))
    with pytest.raises(ModelNotFound):
        give(ada, on(0), name="nobody")


def test_feedback_goes_with_the_interactions_that_it_is_about(ada: Shard) -> None:
    for position in range(TURNS):
        give(ada, on(position))

    run(ada, lambda txn: log.compact_log(txn, TENANT, "ada", 3, memory=None))

    assert [one.position for one in kept(ada)] == [3, 4]
    ada.check_integrity()
    with pytest.raises(InteractionNotFound):
        give(ada, on(2, "key-late"))


def test_the_bytes_of_feedback_count_with_the_logs(ada: Shard) -> None:
    before = head(ada).log_bytes
    given = give(ada, on(2, correction="x" * 1000))

    with ada.read() as txn:
        walked = [one.bytes_kept - len(one.data) for one in log.walk_log(txn, TENANT, "ada", 0)]
    assert before is not None
    assert head(ada).log_bytes == before + len(given.pack())
    assert walked == [0, 0, len(given.pack()), 0, 0]

    def forget(txn: Any) -> None:
        txn.put(keys.head(TENANT, "ada"), head_now.model_copy(update={"log_bytes": None}).pack())

    head_now = head(ada)
    run(ada, forget)
    with ada.read() as txn:
        assert log.counted_head(txn, TENANT, "ada") == head_now, "counted again as it was"


def test_erasing_a_model_erases_what_was_thought_of_it(ada: Shard) -> None:
    give(ada, on(1))

    run(ada, lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=0))

    assert kept(ada) == []
    ada.check_integrity()


def test_an_interaction_is_found_by_its_completion_id(ada: Shard) -> None:
    with ada.read() as txn:
        assert feedback.find_position(txn, TENANT, "ada", "c-op-3") == 3
        for name, unknown, error in (
            ("ada", "c-op-9", InteractionNotFound),
            ("ada", "", InteractionNotFound),
            ("nobody", "c-op-3", ModelNotFound),
        ):
            with pytest.raises(error):
                feedback.find_position(txn, TENANT, name, unknown)


def test_what_was_dropped_is_not_found(ada: Shard) -> None:
    run(ada, lambda txn: log.compact_log(txn, TENANT, "ada", 3, memory=None))

    with ada.read() as txn, pytest.raises(InteractionNotFound):
        feedback.find_position(txn, TENANT, "ada", "c-op-2")
