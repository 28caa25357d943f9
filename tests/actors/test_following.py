"""A turn that follows another one reads what led to that one, and nothing that was said beside it."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from populace.actors.engine import Delta, GenerateRequest, Message, Sampling
from populace.actors.errors import PromptTooLong
from populace.actors.forgetting import CONVERSATION_ROLE
from populace.actors.host.model_host import ModelHost
from populace.actors.hosts import Hosts
from populace.actors.tool_calls import TOOL_ROLE
from populace.actors.turn import FIRST, Interaction, ModelId, TurnGrant, TurnRequest
from populace.actors.turns.requests import make_request
from populace.actors.turns.setting import add_to_conversation, remark
from populace.learning.examples import examples_of
from populace.policies.history import HISTORY_TURNS_MAX
from populace.policies.ingestion import ADDED_ROLE
from populace.storage.records.errors import InteractionForgotten, InteractionNotFound
from populace.storage.store import Store
from tests.actors.fakes import BASE, FakeClock, ScriptedEngine
from tests.actors.populations import IN_ONE_PROCESS
from tests.actors.test_memory import engine as remembering
from tests.actors.test_memory import remembering as remembering_script
from tests.actors.turns import grant_of, reply

ADA = ModelId("acme", "ada")


class Teller:
    """Tells ada something as a turn that follows another one, and keeps the memory after each."""

    def __init__(self, host: ModelHost, engine: ScriptedEngine) -> None:
        self.host = host
        self.engine = engine
        self.states: list[bytes | None] = [None]

    async def say(
        self, text: str, follows: int = FIRST, instructions: str | None = None, role: str = "user"
    ) -> Interaction:
        told = () if instructions is None else (Message("system", instructions),)
        turn = await self.host.chat(
            make_request(
                ADA,
                (*told, Message(role, text)),
                Sampling(),
                follows=follows,
                instructions=len(told),
                turn_seconds_max=60.0,
            )
        )
        self.states.append(await self.state())
        return turn

    async def state(self, position: int | None = None) -> bytes | None:
        return (await self.host.memories.show(ADA, position)).state

    @property
    def prompt(self) -> list[str]:
        """What the model read last."""
        return [one.content for one in self.engine.requests[-1].prompt if isinstance(one, Message)]


async def room_for_characters(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
    """Reply as the tests of the memory do to 500 characters at most."""
    characters = sum(len(said.content) for said in request.prompt if isinstance(said, Message))
    if characters > 500:
        raise PromptTooLong(characters, 1, 500)
    async for one in remembering_script(request):
        yield one


@pytest.fixture
async def ada(tmp_path: Path, clock: FakeClock) -> AsyncGenerator[Teller]:
    engine = remembering()
    store = Store.create_or_open(tmp_path / "store", 1)
    host = ModelHost("host", store, [0], base=BASE.fingerprint, clock=clock, engine=engine)
    await host.create_model(ADA)
    yield Teller(host, engine)
    host.check_integrity()
    host.close()


async def test_a_turn_reads_the_turns_that_led_to_the_one_it_follows(ada: Teller) -> None:
    await ada.say("one")
    await ada.say("apart")
    await ada.say("two", follows=0)
    last = await ada.say("three", follows=2)

    assert ada.prompt == ["one", "reply to 1", "two", "reply to 3", "three"]
    assert [message.content for message in last.messages] == ["three"]
    assert [turn.conversation for turn in await ada.host.read_log(ADA)] == [
        "thread-0",
        "thread-1",
        "thread-0",
        "thread-0",
    ]


async def test_two_that_follow_the_same_turn_do_not_see_each_other(ada: Teller) -> None:
    await ada.say("one")
    await ada.say("two", follows=0)
    again = await ada.say("two, said otherwise", follows=0)
    assert ada.prompt == ["one", "reply to 1", "two, said otherwise"]

    await ada.say("three", follows=again.position)
    assert ada.prompt == ["one", "reply to 1", "two, said otherwise", "reply to 3", "three"]
    await ada.say("four", follows=1)
    assert ada.prompt == ["one", "reply to 1", "two", "reply to 3", "four"]


async def test_a_turn_may_follow_any_turn_and_adds_nothing_to_its_clients_conversation(ada: Teller) -> None:
    for name in ("main", None):
        request = make_request(
            ADA, (Message("user", f"in {name}"),), Sampling(), conversation=name, turn_seconds_max=60.0
        )
        turn = await ada.host.chat(request)
        follower = await ada.say("and", follows=turn.position)

        assert ada.prompt == [f"in {name}", turn.reply, "and"]
        assert follower.conversation == f"thread-{follower.position}"


async def test_what_was_said_beside_a_thread_does_not_shorten_it(ada: Teller) -> None:
    await ada.say("one")
    await ada.say("two", follows=0)
    for _ in range(HISTORY_TURNS_MAX - 1):
        await ada.say("aside")

    last = await ada.say("three", follows=1)

    assert ada.prompt == ["one", "reply to 1", "two", "reply to 3", "three"]
    await ada.say("four", follows=last.position)
    assert ada.prompt[:5] == ["one", "reply to 1", "two", "reply to 3", "three"]
    assert [await ada.state(place) for place in (last.position + 1, last.position + 2)] == ada.states[-2:]


async def test_instructions_come_first_and_are_for_one_turn_alone(ada: Teller) -> None:
    first = await ada.say("one", instructions="Be brief.")
    assert ada.prompt == ["Be brief.", "one"]
    await ada.say("two", follows=first.position, instructions="Be long.")
    assert ada.prompt == ["Be long.", "one", "reply to 2", "two"]
    await ada.say("two again", follows=first.position)
    assert ada.prompt == ["one", "reply to 2", "two again"]


async def test_a_replay_of_the_log_reads_what_the_turns_read(ada: Teller) -> None:
    await ada.say("one", instructions="Be brief.")
    await ada.say("two", follows=0, instructions="Be long.")
    await ada.say("three", follows=1)
    await ada.say("aside", follows=0, instructions="Be kind.")
    await ada.say("four", follows=2, instructions="Be brief.")

    assert [await ada.state(position) for position in range(6)] == ada.states
    assert len(set(ada.states)) == 6, "each turn was written"


async def test_a_remark_changes_no_memory_and_no_replay_reads_it(ada: Teller) -> None:
    await ada.say("one")
    kept = await remark(ada.host, ADA, Message(CONVERSATION_ROLE, "{}"), "remark-1", turn_seconds_max=60.0)
    ada.states.append(await ada.state())
    await ada.say("two", follows=0)

    assert ada.prompt == ["one", "reply to 1", "two"]
    assert (kept.position, ada.states[2]) == (1, ada.states[1])
    assert [await ada.state(position) for position in range(4)] == ada.states
    assert [one.position for one in examples_of(await ada.host.read_log(ADA), ())] == [0, 2]


async def test_what_was_added_by_hand_is_read_and_not_written_and_goes_when_it_is_forgotten(
    ada: Teller,
) -> None:
    async def say(text: str) -> Interaction:
        own = (Message("user", text),)
        turn = await ada.host.chat(
            make_request(ADA, own, Sampling(), conversation="main", turn_seconds_max=60.0)
        )
        ada.states.append(await ada.state())
        return turn

    await say("one")
    added = (Message("user", "a secret"), Message("assistant", "noted"))
    kept = await add_to_conversation(ada.host, ADA, "main", added, "add-1", turn_seconds_max=60.0)
    ada.states.append(await ada.state())
    last = await say("two")

    told = ["one", "reply to 1", "a secret", "noted", "two"]
    assert ada.prompt == told
    assert last.memory is not None
    assert (last.history_turns, last.memory.written_from) == (2, 4)
    assert ada.states[2] == ada.states[1] != ada.states[3]
    assert [await ada.state(position) for position in range(4)] == ada.states
    examples = examples_of(await ada.host.read_log(ADA), ())
    assert [one.position for one in examples] == [0, 2]
    assert [one.content for one in examples[1].prompt] == told[2:], "the first turn is held out"

    await ada.host.forgetting.forget(ADA, [kept.position], "forget-1")

    log = await ada.host.read_log(ADA)
    assert "secret" not in repr(log)
    assert log[2].history_turns == 1
    assert await ada.state() == await ada.state(4)
    await say("three")
    assert ada.prompt == ["one", "reply to 1", "two", last.reply, "three"]


async def test_what_was_added_outlives_turns_that_are_forgotten_beside_it(ada: Teller) -> None:
    async def say(text: str, conversation: str) -> None:
        own = (Message("user", text),)
        await ada.host.chat(
            make_request(ADA, own, Sampling(), conversation=conversation, turn_seconds_max=60.0)
        )

    said = (Message("user", "one"), Message("assistant", "reply to 4"), Message("user", "and a fact"))
    await add_to_conversation(ada.host, ADA, "main", said, "add-1", turn_seconds_max=60.0)
    await say("one", "main")
    await say("two", "main")

    forgotten = await ada.host.forgetting.forget(ADA, [1], "forget-1")

    added, _, last = (await ada.host.read_log(ADA))[:3]
    assert (forgotten.repeated, forgotten.shown) == ((0,), (2,))
    assert added.messages == (Message(ADDED_ROLE, ""), *said)
    assert last.memory is not None
    assert (last.history_turns, last.memory.written_from) == (1, 3)
    await say("three", "main")
    assert ada.prompt == ["one", "reply to 4", "and a fact", "two", last.reply, "three"]


async def test_what_is_left_of_what_was_added_is_still_known_as_added(ada: Teller) -> None:
    for text in ("a secret", "words"):
        await ada.host.chat(make_request(ADA, (Message("user", text),), Sampling(), turn_seconds_max=60.0))
    repeated = [
        *(Message("user", text) for text in ("words", "a secret")),
        Message("assistant", "reply to 1"),
    ]
    fact = Message("user", "a fact")
    await add_to_conversation(ada.host, ADA, "main", (*repeated, fact), "add-1", turn_seconds_max=60.0)

    await ada.host.forgetting.forget(ADA, [0, 1], "forget-1")

    assert (await ada.host.read_log(ADA))[2].messages == (Message(ADDED_ROLE, ""), fact)


async def test_what_was_added_twice_is_forgotten_once(ada: Teller) -> None:
    for number in range(2):
        noted = (Message("assistant", "noted"),)
        await add_to_conversation(ada.host, ADA, "main", noted, f"add-{number}", turn_seconds_max=60.0)

    await ada.host.forgetting.forget(ADA, [1], "forget-1")

    assert [turn.forgotten for turn in await ada.host.read_log(ADA)] == [False, True, False]


async def test_a_training_reads_what_the_turns_read(ada: Teller) -> None:
    await ada.say("Something that is held out of it.")
    await ada.say("one", instructions="Be brief.")
    await ada.say("two", follows=1, instructions="Be long.")

    examples = examples_of(await ada.host.read_log(ADA), ())

    assert [one.content for one in examples[2].prompt] == ["Be long.", "one", "reply to 2", "two"]


async def test_forgetting_a_turn_that_others_follow_leaves_the_memory_of_a_log_without_it(
    ada: Teller, tmp_path: Path, clock: FakeClock
) -> None:
    await ada.say("one", instructions="Be brief.")
    await ada.say("secret", follows=0, instructions="Be discreet.")
    await ada.say("aside", follows=0, instructions="Be kind.")
    await ada.say("three", follows=1, instructions="Be long.")

    forgotten = await ada.host.forgetting.forget(ADA, [1], "forget-1")

    assert forgotten.shown == (3,)
    log = await ada.host.read_log(ADA)
    assert "secret" not in repr(log)
    assert (log[3].history_turns, log[3].instructions) == (1, 1)
    assert await ada.state() == await ada.state(5)
    with pytest.raises(InteractionForgotten):
        await ada.say("and?", follows=1)


async def test_what_a_branch_brings_counts_as_no_message_that_was_written(ada: Teller) -> None:
    await ada.say("one")
    await ada.say("two", follows=0)
    await ada.say("two, said otherwise", follows=0, instructions="Be brief.")

    writes = (await ada.host.memories.show(ADA)).writes
    assert [(write.position, write.messages) for write in writes] == [(2, 1), (1, 1), (0, 1)]


async def test_a_branch_is_read_without_the_oldest_of_what_it_brings_if_all_is_too_long(ada: Teller) -> None:
    texts = [f"{number}" * 300 for number in range(6)]
    for number, text in enumerate(texts):
        await ada.say(text, follows=FIRST if number == 0 else number - 1, instructions="Be brief.")
    aside = await ada.say("aside", follows=FIRST)
    unbounded, ada.engine._script = ada.engine._script, room_for_characters
    turn = await ada.say("and?", follows=4, instructions="Be long.")
    ada.engine._script = unbounded

    assert (turn.conversation, aside.position) == ("thread-7", 6)
    assert ada.prompt == ["Be long.", texts[4], "reply to 10", "and?"]
    assert [message.content for message in turn.messages] == ada.prompt
    assert [await ada.state(position) for position in range(9)] == ada.states


async def test_of_a_chat_that_was_sent_whole_a_branch_brings_what_fits(ada: Teller) -> None:
    sent = [Message(role, f"{at}" * 250) for at in range(9) for role in ("user", "assistant")]
    request = make_request(ADA, (*sent, Message("user", "last")), Sampling(), turn_seconds_max=60.0)
    whole = await ada.host.chat(request)

    await ada.say("and?", follows=whole.position)

    assert ada.prompt == [*(said.content for said in sent[-12:]), "last", "reply to 19", "and?"]


async def test_results_of_tools_are_read_again_and_forgotten_with_the_turn_that_called(ada: Teller) -> None:
    await ada.say("weather?")
    await ada.say("a secret", follows=0, role=TOOL_ROLE)
    await ada.say("another secret", follows=1, role=TOOL_ROLE)
    await ada.say("and?", follows=2)
    assert [await ada.state(position) for position in range(5)] == ada.states

    await ada.host.forgetting.forget(ADA, [0], "forget-1")

    log = await ada.host.read_log(ADA)
    assert [turn.forgotten for turn in log[:4]] == [True, True, True, False]
    assert log[3].history_turns == 0
    assert await ada.state() == await ada.state(5)


async def test_a_turn_that_is_not_in_the_log_cannot_be_followed_and_leaves_the_model_free(
    hosts: Hosts, tenant: str
) -> None:
    model = (await hosts.create_model(ModelId(tenant, "ada"))).model
    for position in (0, 7):
        with pytest.raises(InteractionNotFound):
            await hosts.begin_turn(TurnRequest(model, "op-1", b"", follows=position))

    first = await hosts.finish_turn(
        await grant_of(hosts, TurnRequest(model, "op-1", b"", follows=FIRST)), reply()
    )
    assert first.conversation == "thread-0"


@IN_ONE_PROCESS
async def test_of_two_that_follow_the_same_turn_at_once_the_second_begins_another_conversation(
    hosts: Hosts, tenant: str
) -> None:
    model = (await hosts.create_model(ModelId(tenant, "ada"))).model
    await hosts.finish_turn(await grant_of(hosts, TurnRequest(model, "op-0", b"", follows=FIRST)), reply())

    async def follow(operation: str) -> TurnGrant:
        grant = await grant_of(hosts, TurnRequest(model, operation, b"", follows=0))
        await hosts.finish_turn(grant, reply(asked=operation))
        return grant

    grants = sorted(await asyncio.gather(follow("op-1"), follow("op-2")), key=lambda grant: grant.position)

    told = (Message("user", "Hi."), Message("assistant", "Hello."))
    assert [(one.history_of, one.history, one.brought) for one in grants] == [
        ("thread-0", (told,), ()),
        ("thread-2", (), (told,)),
    ]
