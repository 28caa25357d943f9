"""Who takes part said so, and what is known of them goes when they do no longer."""

import pytest

from populace.storage.records import erasures, keys
from populace.storage.records.errors import ModelNotFound
from populace.storage.records.records import MemberRecord, ProfileRecord
from populace.storage.rows.members import StoredMember, put_profile, read_member, take_part, walk_members
from populace.storage.rows.portable import portable_rows, read_portable
from populace.storage.shards.shard import Shard
from tests.storage.portable_models import run
from tests.storage.samples import TENANT, create_model, digest, identity, revision

VOTES = MemberRecord(sharing="votes", since_ms=7)
PROFILE = ProfileRecord(
    revision=digest("first"), probes="p" * 64, choices=4, log_probs=b"\0" * 16, accuracy=0.5, created_ms=8
)


@pytest.fixture
def ada(shard: Shard) -> Shard:
    run(shard, lambda txn: create_model(txn, identity(), revision("first")))
    run(shard, lambda txn: create_model(txn, identity("bob")))
    return shard


def members(shard: Shard) -> list[StoredMember]:
    with shard.read() as txn:
        return list(walk_members(txn, TENANT))


def test_a_model_takes_part_when_it_was_said_and_no_other(ada: Shard) -> None:
    assert members(ada) == []

    run(ada, lambda txn: take_part(txn, TENANT, "ada", VOTES))

    [one] = members(ada)
    assert one == StoredMember("ada", VOTES, identity().base, digest("first"), None)
    with ada.read() as txn:
        assert read_member(txn, TENANT, "bob") is None
        with pytest.raises(ModelNotFound):
            read_member(txn, TENANT, "nobody")
    ada.check_integrity()


def test_of_a_model_without_an_adapter_the_base_takes_part(ada: Shard) -> None:
    run(ada, lambda txn: take_part(txn, TENANT, "bob", VOTES))

    assert [(one.name, one.revision) for one in members(ada)] == [("bob", None)]


def test_a_profile_is_a_members_and_goes_with_it(ada: Shard) -> None:
    assert not run(ada, lambda txn: put_profile(txn, TENANT, "ada", PROFILE)), "it takes no part"
    run(ada, lambda txn: take_part(txn, TENANT, "ada", VOTES))
    assert run(ada, lambda txn: put_profile(txn, TENANT, "ada", PROFILE))
    assert members(ada)[0].profile == PROFILE
    run(ada, lambda txn: take_part(txn, TENANT, "ada", VOTES.model_copy(update={"sharing": "texts"})))
    assert members(ada)[0].profile == PROFILE, "it is of the revision, whatever is shared"
    ada.check_integrity()

    run(ada, lambda txn: take_part(txn, TENANT, "ada", None))

    assert members(ada) == []
    with ada.read() as txn:
        assert txn.get(keys.profile(TENANT, "ada")) is None
    ada.check_integrity()


def test_who_is_erased_takes_no_part(ada: Shard) -> None:
    run(ada, lambda txn: take_part(txn, TENANT, "ada", VOTES))
    run(ada, lambda txn: put_profile(txn, TENANT, "ada", PROFILE))

    run(ada, lambda txn: erasures.erase_model(txn, TENANT, "ada", now_ms=9))

    assert members(ada) == []
    with pytest.raises(ModelNotFound):
        run(ada, lambda txn: take_part(txn, TENANT, "ada", VOTES))
    assert not run(ada, lambda txn: put_profile(txn, TENANT, "ada", PROFILE))
    ada.check_integrity()


@pytest.mark.parametrize("broken", ["profile of nobody", "torn", "more than right"])
def test_a_profile_that_cannot_be_is_noticed(ada: Shard, broken: str) -> None:
    row = PROFILE
    if broken != "profile of nobody":
        run(ada, lambda txn: take_part(txn, TENANT, "ada", VOTES))
    if broken == "torn":
        row = row.model_copy(update={"log_probs": b"\0" * 7})
    if broken == "more than right":
        row = row.model_copy(update={"accuracy": 1.5})
    run(ada, lambda txn: txn.put(keys.profile(TENANT, "ada"), row.pack()))

    with pytest.raises(AssertionError):
        ada.check_integrity()

    run(ada, lambda txn: txn.delete(keys.profile(TENANT, "ada")))
    ada.check_integrity()


def test_a_fork_takes_no_part_of_itself(ada: Shard) -> None:
    """Consent is one model's: for what it becomes elsewhere it has to be given anew."""
    run(ada, lambda txn: take_part(txn, TENANT, "ada", VOTES))
    run(ada, lambda txn: put_profile(txn, TENANT, "ada", PROFILE))

    with ada.read() as txn:
        rows = portable_rows(read_portable(txn, TENANT, "ada"), TENANT, "fork")

    assert keys.identity(TENANT, "fork") in rows
    assert {keys.member(TENANT, "fork"), keys.profile(TENANT, "fork")}.isdisjoint(rows)
