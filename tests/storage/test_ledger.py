"""The laws of the ledger's verbs, each on a real shard."""

from collections.abc import Callable
from typing import TypeVar

import pytest

from populace.storage.records import erasures, keys
from populace.storage.records.errors import (
    ModelExists,
    ModelNotFound,
    OperationConflict,
    PositionConflict,
    RecordInvalid,
    RevisionNotFound,
    StorageError,
)
from populace.storage.records.record import RECORD_BYTES_MAX
from populace.storage.records.records import MemoryRecord
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import api_keys, ledger
from populace.storage.shards.shard import Shard
from tests.storage.samples import (
    TENANT,
    api_key,
    commit,
    create_model,
    digest,
    identity,
    interaction,
    publish_revision,
    revision,
)

T = TypeVar("T")


def run(shard: Shard, operation: Callable[[WriteTransaction], T]) -> T:
    [outcome] = shard.write([operation])
    if isinstance(outcome, Exception):
        raise outcome
    return outcome


@pytest.fixture
def ada(shard: Shard) -> Shard:
    run(shard, lambda txn: create_model(txn, identity()))
    return shard


def test_a_created_model_is_there_with_an_empty_log_and_no_alias(ada: Shard) -> None:
    with ada.read() as txn:
        model = ledger.read_model(txn, TENANT, "ada")

    assert model is not None
    assert model.identity == identity()
    assert (model.head.log_position, model.aliases, model.memory) == (0, {}, None)


def test_a_model_created_with_a_revision_has_it_as_latest(shard: Shard) -> None:
    created = run(shard, lambda txn: create_model(txn, identity(), revision()))

    with shard.read() as txn:
        assert ledger.read_model(txn, TENANT, "ada") == created
        assert ledger.read_revision(txn, TENANT, "ada", "latest") == revision()
    assert created.aliases == {"latest": revision().digest}


def test_a_name_is_taken_once(ada: Shard) -> None:
    with pytest.raises(ModelExists):
        run(ada, lambda txn: create_model(txn, identity()))


def test_an_absent_model_is_none_or_an_error_and_never_a_fresh_one(shard: Shard) -> None:
    with shard.read() as txn:
        assert ledger.read_model(txn, TENANT, "ada") is None
        with pytest.raises(ModelNotFound):
            ledger.read_log(txn, TENANT, "ada")
        with pytest.raises(ModelNotFound):
            ledger.list_revisions(txn, TENANT, "ada")
        with pytest.raises(ModelNotFound):
            ledger.read_revision(txn, TENANT, "ada", "latest")
    with pytest.raises(ModelNotFound):
        run(shard, lambda txn: commit(txn, 0, "op"))
    with pytest.raises(ModelNotFound):
        run(shard, lambda txn: publish_revision(txn, TENANT, "ada", revision()))
    with pytest.raises(ModelNotFound):
        run(shard, lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=0))


@pytest.mark.parametrize("name", ["", "Ada", "ada\0", "ada\0x", "../ada", "a" * 5000, "\ud800"])
def test_a_name_that_no_model_can_have_is_one_that_no_model_has(ada: Shard, name: str) -> None:
    with ada.read() as txn:
        assert ledger.read_model(txn, TENANT, name) is None
        assert ledger.find_operation(txn, TENANT, name, "op", now_ms=0) is None
        assert len(ledger.list_models(txn, TENANT, after=name)) <= 1
        with pytest.raises(ModelNotFound):
            ledger.read_log(txn, TENANT, name)
    with pytest.raises(ModelNotFound):
        run(ada, lambda txn: erasures.erase_model(txn, TENANT, name, now_ms=0))


def test_a_model_whose_head_is_missing_is_damaged_and_not_fresh(ada: Shard) -> None:
    head = run(ada, lambda txn: txn.get(keys.head(TENANT, "ada")))
    assert head is not None
    run(ada, lambda txn: txn.delete(keys.head(TENANT, "ada")))

    with ada.read() as txn, pytest.raises(RecordInvalid):
        ledger.read_model(txn, TENANT, "ada")
    with pytest.raises(AssertionError):
        ada.check_integrity()

    run(ada, lambda txn: txn.put(keys.head(TENANT, "ada"), head))


def test_a_turn_is_appended_and_names_its_predecessor(ada: Shard) -> None:
    first = run(ada, lambda txn: commit(txn, 0, "op-0"))
    second = run(ada, lambda txn: commit(txn, 1, "op-1"))

    with ada.read() as txn:
        assert ledger.read_log(txn, TENANT, "ada") == [first, second]
        assert ledger.read_log(txn, TENANT, "ada", start=1) == [second]
        assert ledger.read_log(txn, TENANT, "ada", limit=1) == [first]
        assert ledger.read_log(txn, TENANT, "ada", start=2) == []
    assert first.previous == b""
    assert second.previous == ledger.chain_digest(first.pack())


def test_the_same_operation_and_body_answer_the_first_interaction_and_change_nothing(ada: Shard) -> None:
    first = run(ada, lambda txn: commit(txn, 0, "op"))
    run(ada, lambda txn: commit(txn, 1, "other"))

    again = run(ada, lambda txn: commit(txn, 2, "op"))

    assert again == first
    with ada.read() as txn:
        assert len(ledger.read_log(txn, TENANT, "ada")) == 2


def test_the_same_operation_with_another_body_is_a_conflict(ada: Shard) -> None:
    run(ada, lambda txn: commit(txn, 0, "op"))

    with pytest.raises(OperationConflict):
        run(ada, lambda txn: commit(txn, 1, "op", body=b"another"))


def test_an_operation_id_is_free_again_at_its_expiry(ada: Shard) -> None:
    run(ada, lambda txn: commit(txn, 0, "op", expires_ms=100))
    with ada.read() as txn:
        assert ledger.find_operation(txn, TENANT, "ada", "op", now_ms=99) is not None
        assert ledger.find_operation(txn, TENANT, "ada", "op", now_ms=100) is None

    second = run(ada, lambda txn: commit(txn, 1, "op", body=b"another", now_ms=100))

    assert second.position == 1


def test_an_operation_id_of_any_length_fits(ada: Shard) -> None:
    run(ada, lambda txn: commit(txn, 0, "x" * 10_000))

    with ada.read() as txn:
        found = ledger.find_operation(txn, TENANT, "ada", "x" * 10_000, now_ms=0)
    assert found is not None
    assert found[1].position == 0


def test_a_turn_at_an_old_position_is_refused_with_both_numbers(ada: Shard) -> None:
    run(ada, lambda txn: commit(txn, 0, "op-0"))

    with pytest.raises(PositionConflict) as caught:
        run(ada, lambda txn: commit(txn, 0, "op-1"))

    assert (caught.value.expected, caught.value.stored) == (0, 1)


def test_memory_is_committed_with_its_turn(ada: Shard) -> None:
    memory = MemoryRecord(version=1, payload=b"\x00state")

    run(
        ada,
        lambda txn: ledger.commit_turn(
            txn,
            TENANT,
            "ada",
            interaction(0, "op"),
            body_hash=b"",
            expected_position=0,
            expires_ms=1,
            now_ms=0,
            memory=memory,
        ),
    )

    with ada.read() as txn:
        model = ledger.read_model(txn, TENANT, "ada")
    assert model is not None
    assert (model.memory, model.head.memory_version) == (memory, 1)


def test_a_record_too_long_to_be_read_back_is_not_written(ada: Shard) -> None:
    memory = MemoryRecord(version=1, payload=bytes(RECORD_BYTES_MAX))

    with pytest.raises(RecordInvalid):
        run(
            ada,
            lambda txn: ledger.commit_turn(
                txn,
                TENANT,
                "ada",
                interaction(0, "op"),
                body_hash=b"",
                expected_position=0,
                expires_ms=1,
                now_ms=0,
                memory=memory,
            ),
        )

    with ada.read() as txn:
        assert ledger.read_log(txn, TENANT, "ada") == []


def test_publishing_moves_the_alias_and_keeps_every_revision(ada: Shard) -> None:
    run(ada, lambda txn: publish_revision(txn, TENANT, "ada", revision("one", 1)))
    run(ada, lambda txn: publish_revision(txn, TENANT, "ada", revision("two", 2), "canary"))
    answered = run(ada, lambda txn: publish_revision(txn, TENANT, "ada", revision("two", 9)))

    with ada.read() as txn:
        assert ledger.read_model(txn, TENANT, "ada") == answered
        assert ledger.list_revisions(txn, TENANT, "ada") == [revision("one", 1), revision("two", 2)]
        assert ledger.read_revision(txn, TENANT, "ada", digest("one")) == revision("one", 1)
    assert answered.aliases == {"canary": digest("two"), "latest": digest("two")}


def test_a_registered_revision_is_named_by_no_alias_until_it_is_promoted(ada: Shard) -> None:
    run(ada, lambda txn: ledger.register_revision(txn, TENANT, "ada", revision("one", 1)))
    with ada.read() as txn:
        [registered] = ledger.list_revisions(txn, TENANT, "ada")
        model = ledger.read_model(txn, TENANT, "ada")

    run(ada, lambda txn: ledger.register_revision(txn, TENANT, "ada", revision("one", 5)))
    promoted = run(ada, lambda txn: ledger.promote_revision(txn, TENANT, "ada", digest("one")))
    run(ada, lambda txn: ledger.register_revision(txn, TENANT, "ada", revision("one", 9)))

    assert not registered.ready
    assert model is not None
    assert (model.aliases, promoted.aliases) == ({}, {"latest": digest("one")})
    with ada.read() as txn:
        assert ledger.list_revisions(txn, TENANT, "ada") == [revision("one", 1)]


def test_only_what_is_registered_is_promoted(ada: Shard) -> None:
    with pytest.raises(RevisionNotFound):
        run(ada, lambda txn: ledger.promote_revision(txn, TENANT, "ada", digest("one")))
    with pytest.raises(ModelNotFound):
        run(ada, lambda txn: ledger.promote_revision(txn, TENANT, "eve", digest("one")))
    with pytest.raises(ModelNotFound):
        run(ada, lambda txn: ledger.register_revision(txn, TENANT, "eve", revision()))


@pytest.mark.parametrize("reference", ["canary", digest("two"), "Not A Name", ""])
def test_an_unknown_revision_is_an_error_and_not_the_base(ada: Shard, reference: str) -> None:
    with ada.read() as txn, pytest.raises(RevisionNotFound):
        ledger.read_revision(txn, TENANT, "ada", reference)


def test_erasing_removes_every_row_of_the_model_and_of_no_other(ada: Shard) -> None:
    run(ada, lambda txn: create_model(txn, identity("ada-2"), revision()))
    run(ada, lambda txn: commit(txn, 0, "kept", name="ada-2"))
    with ada.read() as txn:
        before = [key for key, _ in txn.scan(b"") if b"\0ada\0" not in key]
    for position in range(3):
        run(ada, lambda txn, position=position: commit(txn, position, f"op-{position}"))
    run(ada, lambda txn: publish_revision(txn, TENANT, "ada", revision()))

    run(ada, lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=0))

    with ada.read() as txn:
        traces = {keys.ERASED_KEY[:1], keys.erasures(), keys.orphans()}
        assert [key for key, _ in txn.scan(b"") if key[:1] not in traces] == before[2:]
        assert erasures.read_orphans(txn) == [revision().digest]
        assert erasures.read_waiting(txn) == (0, 1)


def test_models_are_listed_by_name_after_a_name_and_of_one_tenant(shard: Shard) -> None:
    for name in ("c", "a", "b-1", "b"):
        run(shard, lambda txn, name=name: create_model(txn, identity(name)))
    run(shard, lambda txn: create_model(txn, identity("a", tenant="acme2")))

    with shard.read() as txn:
        everything = ledger.list_models(txn, TENANT)
        page = ledger.list_models(txn, TENANT, after="a", limit=2)
        between = ledger.list_models(txn, TENANT, after="b-0")
        begun = {
            prefix: ledger.list_models(txn, TENANT, prefix=prefix) for prefix in ("b", "b-", "bb", "a\0")
        }
        begun_after = ledger.list_models(txn, TENANT, prefix="b", after="b")
        before = ledger.list_models(txn, TENANT, prefix="b", after="a", limit=1)

    assert [model.identity.name for model in everything] == ["a", "b", "b-1", "c"]
    assert [model.identity.name for model in page] == ["b", "b-1"]
    assert [model.identity.name for model in between] == ["b-1", "c"]
    assert {prefix: [model.identity.name for model in found] for prefix, found in begun.items()} == {
        "b": ["b", "b-1"],
        "b-": ["b-1"],
        "bb": [],
        "a\0": [],
    }
    assert [model.identity.name for model in begun_after] == ["b-1"]
    assert [model.identity.name for model in before] == ["b"]


def test_keys_are_found_listed_and_revoked_once(shard: Shard) -> None:
    first, second = api_key("k1", created_ms=1), api_key("k2", tenant="other", created_ms=2)
    for record in (second, first, first):
        run(shard, lambda txn, record=record: api_keys.put_key(txn, record))

    revoked = run(shard, lambda txn: api_keys.revoke_key(txn, "k1", now_ms=50))
    again = run(shard, lambda txn: api_keys.revoke_key(txn, "k1", now_ms=60))
    absent = run(shard, lambda txn: api_keys.revoke_key(txn, "\ud800" * 9000, now_ms=60))

    assert revoked == again
    assert revoked is not None
    assert revoked.revoked_ms == 50
    assert absent is None
    with shard.read() as txn:
        assert api_keys.find_key(txn, "k1") == revoked
        assert api_keys.find_key(txn, "k3") is None
        assert api_keys.list_keys(txn) == [revoked, second]
        assert api_keys.list_keys(txn, TENANT) == [revoked]


def test_a_rotated_key_keeps_its_former_secret_and_a_use_is_noted_where_there_is_a_key(shard: Shard) -> None:
    run(shard, lambda txn: api_keys.put_key(txn, api_key("k1")))
    rotated = run(shard, lambda txn: api_keys.rotate_key(txn, "k1", b"\x02" * 32, former_until_ms=70))
    again = run(shard, lambda txn: api_keys.rotate_key(txn, "k1", b"\x02" * 32, former_until_ms=90))
    run(shard, lambda txn: api_keys.note_uses(txn, {"k1": 60, "gone": 60}))
    run(shard, lambda txn: api_keys.note_uses(txn, {"k1": 50}))

    assert rotated == again
    with shard.read() as txn:
        [kept] = api_keys.list_keys(txn)
    assert (kept.secret_sha256, kept.former_sha256, kept.former_until_ms) == (
        b"\x02" * 32,
        b"\x01" * 32,
        70,
    )
    assert kept.used_ms == 60


def test_every_refusal_is_a_storage_error() -> None:
    for error in (ModelNotFound, ModelExists, OperationConflict, PositionConflict, RevisionNotFound):
        assert issubclass(error, StorageError)
