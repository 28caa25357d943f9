"""The laws of turns, the same for hosts in this process and for hosts on Ray."""

import asyncio
import pickle
from typing import Any

import pytest

from populace.actors.engine import Message
from populace.actors.errors import InvalidRequest, MailboxFull, TurnExpired
from populace.actors.hosts import Hosts
from populace.actors.turn import ModelId, TurnGrant, operation_of
from populace.storage.records.errors import ModelNotFound, OperationConflict, RevisionNotFound
from tests.actors.fakes import BASE
from tests.actors.populations import IN_ONE_PROCESS, LIMITS
from tests.actors.turns import (
    grant_of,
    queue_turn,
    reply,
    revision,
    take_turn,
    turn_of,
    wait_waiting,
)


@pytest.fixture
async def ada(hosts: Hosts, tenant: str) -> ModelId:
    return (await hosts.create_model(ModelId(tenant, "ada"))).model


async def test_turns_are_granted_in_the_order_of_arrival(hosts: Hosts, ada: ModelId) -> None:
    first = await grant_of(hosts, turn_of(ada, "op-1"))
    second = await queue_turn(hosts, turn_of(ada, "op-2"), waiting=1)
    third = await queue_turn(hosts, turn_of(ada, "op-3"), waiting=2)

    await hosts.finish_turn(first, reply())
    granted = await second
    assert isinstance(granted, TurnGrant)
    await wait_waiting(hosts, 1)
    assert not third.done()
    await hosts.finish_turn(granted, reply())
    last = await third

    assert isinstance(last, TurnGrant)
    assert [one.position for one in (first, granted, last)] == [0, 1, 2]
    assert [one.operation for one in (first, granted, last)] == ["op-1", "op-2", "op-3"]
    await hosts.abandon_turn(last, "the test ends")


async def test_the_next_turn_waits_until_the_running_one_is_in_the_log(hosts: Hosts, ada: ModelId) -> None:
    first = await grant_of(hosts, turn_of(ada, "op-1"))
    second = await queue_turn(hosts, turn_of(ada, "op-2"))

    assert not second.done()
    await hosts.finish_turn(first, reply())
    await second

    assert [one.operation for one in await hosts.read_log(ada)] == ["op-1"]


@IN_ONE_PROCESS
async def test_turns_of_different_models_do_not_wait_for_each_other(hosts: Hosts, tenant: str) -> None:
    models = [ModelId(tenant, f"model-{number}") for number in range(8)]
    await asyncio.gather(*(hosts.create_model(model) for model in models))

    grants = [await grant_of(hosts, turn_of(model)) for model in models]
    await asyncio.gather(*(hosts.finish_turn(grant, reply()) for grant in grants))

    logs = await asyncio.gather(*(hosts.read_log(model) for model in models))
    assert [len(log) for log in logs] == [1] * 8
    assert len({grant.grant_id for grant in grants}) == 8


async def test_a_committed_turn_is_in_the_log_once_with_what_made_it(hosts: Hosts, ada: ModelId) -> None:
    published = revision()
    await take_turn(hosts, turn_of(ada, "op-1"))
    await hosts.publish_revision(ada, published)

    made = await take_turn(hosts, turn_of(ada, "op-2"), "Good day.")

    assert (made.model, made.position, made.operation) == (ada, 1, "op-2")
    assert (made.revision, made.base, made.memory_version) == (published.digest, BASE.fingerprint, 0)
    assert (made.messages, made.reply, made.finish_reason) == ((Message("user", "Hi."),), "Good day.", "stop")
    assert (made.prompt_tokens, made.completion_tokens, made.completion_id) == (3, 2, "c-Good day.")
    assert not made.replayed
    assert (await hosts.read_log(ada))[1:] == (made,)


async def test_an_operation_that_took_effect_is_answered_with_its_interaction(
    hosts: Hosts, ada: ModelId
) -> None:
    made = await take_turn(hosts, turn_of(ada))

    again = await hosts.begin_turn(turn_of(ada))

    assert not isinstance(again, TurnGrant)
    assert again.replayed
    assert (again.position, again.reply, again.completion_id) == (0, made.reply, made.completion_id)
    assert len(await hosts.read_log(ada)) == 1


async def test_an_operation_id_with_another_body_is_a_conflict(hosts: Hosts, ada: ModelId) -> None:
    await take_turn(hosts, turn_of(ada, body=b"one"))

    with pytest.raises(OperationConflict):
        await hosts.begin_turn(turn_of(ada, body=b"two"))

    assert len(await hosts.read_log(ada)) == 1


async def test_a_duplicate_that_waits_gets_the_result_of_the_first(hosts: Hosts, ada: ModelId) -> None:
    first = await grant_of(hosts, turn_of(ada))
    duplicate = await queue_turn(hosts, turn_of(ada))

    made = await hosts.finish_turn(first, reply())
    again = await duplicate

    assert not isinstance(again, TurnGrant)
    assert (again.position, again.reply, again.replayed) == (made.position, made.reply, True)
    assert (await take_turn(hosts, turn_of(ada, "op-2"))).position == 1


@IN_ONE_PROCESS
async def test_a_duplicate_with_another_body_that_waited_leaves_the_model_free(
    hosts: Hosts, ada: ModelId
) -> None:
    first = await grant_of(hosts, turn_of(ada, body=b"one"))
    duplicate = await queue_turn(hosts, turn_of(ada, body=b"two"))

    await hosts.finish_turn(first, reply())
    with pytest.raises(OperationConflict):
        await duplicate

    assert (await take_turn(hosts, turn_of(ada, "op-2"))).position == 1


async def test_an_abandoned_turn_records_nothing_and_the_next_is_granted(hosts: Hosts, ada: ModelId) -> None:
    first = await grant_of(hosts, turn_of(ada, "op-1"))
    second = await queue_turn(hosts, turn_of(ada, "op-2"))

    await hosts.abandon_turn(first, "its reader left")
    granted = await second

    assert isinstance(granted, TurnGrant)
    assert granted.position == 0
    with pytest.raises(TurnExpired):
        await hosts.finish_turn(first, reply())
    await hosts.finish_turn(granted, reply())
    assert [one.operation for one in await hosts.read_log(ada)] == ["op-2"]


@IN_ONE_PROCESS
async def test_a_turn_that_is_being_committed_cannot_be_given_up(hosts: Hosts, ada: ModelId) -> None:
    grant = await grant_of(hosts, turn_of(ada))

    made, _ = await asyncio.gather(
        hosts.finish_turn(grant, reply()), hosts.abandon_turn(grant, "its reader left")
    )

    assert await hosts.read_log(ada) == (made,)
    assert (await take_turn(hosts, turn_of(ada, "op-2"))).position == 1


async def test_a_turn_that_is_finished_twice_at_once_is_one_turn(hosts: Hosts, ada: ModelId) -> None:
    grant = await grant_of(hosts, turn_of(ada))

    made, same = await asyncio.gather(hosts.finish_turn(grant, reply()), hosts.finish_turn(grant, reply()))

    assert made == same
    assert await hosts.read_log(ada) == (made,)


@IN_ONE_PROCESS
async def test_a_turn_that_was_finished_before_answers_what_it_recorded(hosts: Hosts, ada: ModelId) -> None:
    grant = await grant_of(hosts, turn_of(ada))
    made = await hosts.finish_turn(grant, reply("first"))

    again = await hosts.finish_turn(grant, reply("second"))

    assert (again.position, again.reply, again.replayed) == (made.position, "first", True)
    assert await hosts.read_log(ada) == (made,)


async def test_a_caller_that_stops_waiting_leaves_the_mailbox(hosts: Hosts, ada: ModelId) -> None:
    first = await grant_of(hosts, turn_of(ada, "op-1"))
    leaving = await queue_turn(hosts, turn_of(ada, "op-2"), waiting=1)
    staying = await queue_turn(hosts, turn_of(ada, "op-3"), waiting=2)

    leaving.cancel()
    await wait_waiting(hosts, 1)
    await hosts.finish_turn(first, reply())
    granted = await staying

    assert isinstance(granted, TurnGrant)
    assert (granted.operation, granted.position) == ("op-3", 1)
    await hosts.abandon_turn(granted, "the test ends")


async def test_a_full_mailbox_refuses_and_says_when_to_come_back(hosts: Hosts, ada: ModelId) -> None:
    grant = await grant_of(hosts, turn_of(ada, "op-0"))
    waiting = [
        await queue_turn(hosts, turn_of(ada, f"op-{number}"), waiting=number)
        for number in range(1, LIMITS.mailbox_max + 1)
    ]

    with pytest.raises(MailboxFull) as refused:
        await hosts.begin_turn(turn_of(ada, "op-4"))

    assert refused.value.retry_after_s is not None
    assert refused.value.retry_after_s > 0
    await hosts.finish_turn(grant, reply())
    for task in waiting:
        granted = await task
        assert isinstance(granted, TurnGrant)
        await hosts.finish_turn(granted, reply())
    assert [one.operation for one in await hosts.read_log(ada)] == ["op-0", "op-1", "op-2", "op-3"]


async def test_a_model_that_does_not_exist_has_no_turns(hosts: Hosts, tenant: str) -> None:
    with pytest.raises(ModelNotFound):
        await hosts.begin_turn(turn_of(ModelId(tenant, "nobody")))


async def test_an_unknown_alias_is_refused_and_takes_no_turn(hosts: Hosts, ada: ModelId) -> None:
    with pytest.raises(RevisionNotFound):
        await hosts.begin_turn(turn_of(ada, alias="canary"))

    assert (await take_turn(hosts, turn_of(ada))).position == 0


@IN_ONE_PROCESS
async def test_a_foreign_tenant_does_not_find_the_model(hosts: Hosts, ada: ModelId) -> None:
    await take_turn(hosts, turn_of(ada))
    foreign = ModelId(f"{ada.tenant}-foreign", ada.name)

    with pytest.raises(ModelNotFound):
        await hosts.begin_turn(turn_of(foreign))
    with pytest.raises(ModelNotFound):
        await hosts.show_model(foreign)
    with pytest.raises(ModelNotFound):
        await hosts.read_log(foreign)


@IN_ONE_PROCESS
async def test_a_running_turn_keeps_the_revision_it_began_with(hosts: Hosts, ada: ModelId) -> None:
    old, new = revision("old"), revision("new")
    await hosts.publish_revision(ada, old)
    grant = await grant_of(hosts, turn_of(ada, "op-1"))
    waiting = await queue_turn(hosts, turn_of(ada, "op-2"))

    await hosts.publish_revision(ada, new)
    made = await hosts.finish_turn(grant, reply())
    granted = await waiting

    assert isinstance(granted, TurnGrant)
    assert made.revision == old.digest
    assert grant.adapter is not None
    assert grant.adapter.digest == old.digest
    assert granted.revision == new.digest
    await hosts.abandon_turn(granted, "the test ends")


@IN_ONE_PROCESS
async def test_a_model_without_a_revision_answers_with_the_base(hosts: Hosts, ada: ModelId) -> None:
    grant = await grant_of(hosts, turn_of(ada))

    assert (grant.revision, grant.adapter, grant.base) == ("base", None, BASE.fingerprint)
    await hosts.abandon_turn(grant, "the test ends")


@IN_ONE_PROCESS
async def test_the_history_of_a_conversation_comes_oldest_first(hosts: Hosts, ada: ModelId) -> None:
    for number, conversation in enumerate(["main", "other", "main", None]):
        grant = await grant_of(hosts, turn_of(ada, f"op-{number}", history_of=conversation))
        await hosts.finish_turn(grant, reply(f"answer {number}", asked=f"question {number}"))

    grant = await grant_of(hosts, turn_of(ada, "op-4", history_of="main"))

    assert grant.history == (
        (Message("user", "question 0"), Message("assistant", "answer 0")),
        (Message("user", "question 2"), Message("assistant", "answer 2")),
    )
    await hosts.abandon_turn(grant, "the test ends")


async def test_a_model_is_deleted_after_its_running_turn_and_before_those_who_wait(
    hosts: Hosts, ada: ModelId
) -> None:
    grant = await grant_of(hosts, turn_of(ada, "op-1"))
    waiting = await queue_turn(hosts, turn_of(ada, "op-2"))

    deletion = asyncio.ensure_future(hosts.erase_model(ada))
    with pytest.raises(ModelNotFound):
        await waiting
    with pytest.raises(ModelNotFound):
        await hosts.begin_turn(turn_of(ada, "op-3"))
    assert not deletion.done()
    made = await hosts.finish_turn(grant, reply())
    await deletion

    assert made.position == 0
    with pytest.raises(ModelNotFound):
        await hosts.show_model(ada)


async def test_statistics_add_up(hosts: Hosts, tenant: str) -> None:
    models = [ModelId(tenant, f"model-{number}") for number in range(6)]
    await asyncio.gather(*(hosts.create_model(model) for model in models))
    before = await hosts.statistics()

    grants = [await grant_of(hosts, turn_of(model)) for model in models]
    busy = await hosts.statistics()
    await asyncio.gather(*(hosts.finish_turn(grant, reply()) for grant in grants))
    after = await hosts.statistics()

    def grown(name: str) -> int:
        return sum(getattr(one, name) for one in after) - sum(getattr(one, name) for one in before)

    assert sorted(number for one in after for number in one.shards) == [0, 1, 2, 3]
    assert sum(one.busy for one in busy) - sum(one.busy for one in before) == 6
    assert [grown(name) for name in ("turns", "activations", "commits", "busy")] == [6, 6, 6, 0]
    # Models of other tests may have been idle for long enough to leave meanwhile.
    assert grown("active") == 6 - grown("passivations")
    assert [one.waiting for one in after] == [0, 0]
    # The hosts serve other tests too, some of whose writes are refused in a batch without a commit.
    assert 1 <= grown("commit_batches") <= grown("commits")


def test_an_operation_has_the_callers_key_or_one_of_its_own() -> None:
    assert operation_of("order 66") == operation_of("order 66")
    assert operation_of(None) != operation_of(None)


@pytest.mark.parametrize("key", ["k1", "key-k1"])
def test_a_conflict_names_the_key_as_its_caller_gave_it(key: str) -> None:
    error = OperationConflict(operation_of(key))

    for same in (error, pickle.loads(pickle.dumps(error))):
        assert same.operation == key
        assert f"`{key}`" in str(same)


@pytest.mark.parametrize("key", ["", "  ", "\t\n", "\ud800", " a", "a ", "a\nb", "a\x00", "k" * 256, 5])
def test_a_key_that_no_header_carries_as_it_is_is_refused(key: Any) -> None:
    with pytest.raises(InvalidRequest, match="operation id"):
        operation_of(key)
