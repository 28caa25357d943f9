"""Forgetting in the store: the books balance, ids are kept, and nothing is changed by what cannot be done."""

import pytest

from populace.storage.records import keys
from populace.storage.records.errors import (
    ArchiveInvalid,
    InteractionForgotten,
    InteractionNotFound,
    PositionConflict,
)
from populace.storage.records.records import FeedbackRecord, ForgottenRecord, OperationRecord
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import feedback, forgetting, ledger, log, portable
from populace.storage.shards.shard import Shard
from tests.storage.portable_models import forget, run
from tests.storage.samples import TENANT, commit, create_model, identity

ADA = (TENANT, "ada")
TURNS = 5


@pytest.fixture
def ada(shard: Shard) -> Shard:
    run(shard, lambda txn: create_model(txn, identity()))
    for position in range(TURNS):
        run(shard, lambda txn, at=position: commit(txn, at, f"op-{at}", expires_ms=100 + at))
    return shard


def opinion(position: int) -> FeedbackRecord:
    return FeedbackRecord(position=position, operation="said", body_hash=b"1", created_ms=1, thumb=True)


def rows(shard: Shard) -> list[tuple[bytes, bytes]]:
    with shard.read() as txn:
        return list(txn.scan(b""))


def test_the_books_balance_and_the_chain_goes_through(ada: Shard) -> None:
    run(ada, lambda txn: feedback.give_feedback(txn, *ADA, opinion(2)))
    with ada.read() as txn:
        before = ledger.read_head(txn, *ADA)

    run(ada, lambda txn: forget(txn, 2))

    ada.check_integrity()
    with ada.read() as txn:
        after = ledger.read_head(txn, *ADA)
        kept = ledger.read_log(txn, *ADA)
    assert (after.log_position, after.chain != before.chain) == (TURNS, True)
    assert [turn.forgotten is not None for turn in kept] == [False, False, True, False, False]
    assert [turn.reply for turn in kept] == ["Hello.", "Hello.", "", "Hello.", "Hello."]
    run(ada, lambda txn: commit(txn, TURNS, "op-next"))
    ada.check_integrity()


def test_its_operation_id_is_kept_as_long_as_others_and_without_what_was_asked(ada: Shard) -> None:
    run(ada, lambda txn: forget(txn, 2))

    with pytest.raises(InteractionForgotten):
        run(ada, lambda txn: commit(txn, TURNS, "op-2", now_ms=50))
    with ada.read() as txn:
        data = txn.get(keys.operation(*ADA, "op-2"))
        assert data is not None
        assert OperationRecord.unpack(data) == OperationRecord(body_hash=b"", position=2, expires_ms=102)
    run(ada, lambda txn: log.prune_operations(txn, *ADA, now_ms=104))
    ada.check_integrity()
    assert run(ada, lambda txn: commit(txn, TURNS, "op-2", now_ms=104)).position == TURNS
    ada.check_integrity()


def test_an_id_that_was_used_again_belongs_to_its_later_turn(ada: Shard) -> None:
    run(ada, lambda txn: log.prune_operations(txn, *ADA, now_ms=103))
    run(ada, lambda txn: commit(txn, TURNS, "op-2", now_ms=103, body=b"again"))

    run(ada, lambda txn: forget(txn, 2))

    assert run(ada, lambda txn: commit(txn, TURNS + 1, "op-2", now_ms=104, body=b"again")).position == TURNS
    ada.check_integrity()


def test_nothing_can_be_said_of_a_reply_that_was_forgotten(ada: Shard) -> None:
    run(ada, lambda txn: forget(txn, 2))
    before = rows(ada)

    with pytest.raises(InteractionForgotten):
        run(ada, lambda txn: feedback.give_feedback(txn, *ADA, opinion(2)))

    assert rows(ada) == before


def test_what_was_planned_of_another_log_is_not_done(ada: Shard) -> None:
    with ada.read() as txn:
        record = ledger.read_interaction(txn, *ADA, 1)
    assert record is not None
    gone = forgetting.redacted(record, turn=b"t" * 8, operation=b"o" * 16, now_ms=7)
    run(ada, lambda txn: log.prune_operations(txn, *ADA, now_ms=104))
    run(ada, lambda txn: log.compact_log(txn, *ADA, 2, memory=None))
    before = rows(ada)
    for position, error in ((TURNS - 1, PositionConflict), (TURNS, InteractionNotFound)):
        without = forgetting.LogWithout(position, frozenset({1}), {1: gone}, (b"t" * 8,))

        with pytest.raises(error):
            run(ada, lambda txn, what=without: forgetting.forget_turns(txn, *ADA, what, now_ms=7))

        assert rows(ada) == before


def test_a_model_that_forgot_more_turns_than_it_keeps_digests_of_is_sound_and_can_be_carried(
    ada: Shard,
) -> None:
    count = forgetting.TURNS_FORGOTTEN_MAX + 2

    def say_all(txn: WriteTransaction) -> None:
        for position in range(TURNS, count):
            commit(txn, position, f"op-{position}")

    run(ada, say_all)
    run(ada, lambda txn: forget(txn, *range(count)))

    ada.check_integrity()
    with ada.read() as txn:
        kept = forgetting.forgotten_record(txn, *ADA)
        carried = portable.read_portable(txn, *ADA)
    assert (len(kept.turns), kept.let_go) == (forgetting.TURNS_FORGOTTEN_MAX, 2)
    assert kept.turns[-1] == (count - 1).to_bytes(8, "big"), "the newest stay"
    portable.portable_rows(carried, TENANT, "zoe")
    fewer = carried._replace(forgotten=ForgottenRecord(turns=kept.turns[1:], let_go=2).pack())
    with pytest.raises(ArchiveInvalid, match="may come back"):
        portable.portable_rows(fewer, TENANT, "zoe")


def test_the_digest_of_a_turn_that_is_told_anew_is_let_go(ada: Shard) -> None:
    run(ada, lambda txn: forget(txn, 2, 3))
    turn = (2).to_bytes(8, "big")

    for _ in range(2):
        run(ada, lambda txn: forgetting.tell_anew(txn, *ADA, turn))

    with ada.read() as txn:
        left = forgetting.forgotten_record(txn, *ADA)
    assert (left.turns, left.let_go) == (((3).to_bytes(8, "big"),), 1)
    ada.check_integrity()


def test_a_compaction_takes_it_from_the_free_pages(ada: Shard) -> None:
    run(ada, lambda txn: forget(txn, 2))
    assert ada.statistics().erased == (7, 1)

    ada.compact()

    assert ada.statistics().erased is None
    ada.check_integrity()
