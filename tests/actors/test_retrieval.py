"""What a turn asks for comes from its model's own log, the same for hosts in this process and on Ray."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest

from populace.actors.engine import Message, Sampling
from populace.actors.errors import HostUnavailable
from populace.actors.feedback import Opinion
from populace.actors.host.model_host import ModelHost
from populace.actors.host.personal_model import ACTIVATION_BYTES
from populace.actors.host_limits import HostLimits
from populace.actors.hosts import Hosts
from populace.actors.keepers.log_compactor import TURNS_BETWEEN_LOOKS
from populace.actors.turn import ChatRequest, Interaction, ModelId, TurnGrant, TurnRequest
from populace.policies.log_retention import LogLimits
from populace.policies.retrieval import Retrieval
from populace.storage.records.errors import ModelNotFound
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock, ScriptedEngine, spoken
from tests.actors.populations import IN_ONE_PROCESS
from tests.actors.turns import TurnGiver, grant_of, reply, take_turn, turn_of, wait_until

ADA = ModelId("acme", "ada")
SAID = (
    ("My dog is called Bruno.", "What a nice name."),
    ("I live in Lisbon.", "Lisbon is beautiful."),
    ("That dog is mine.", "I cannot know that."),
    ("My sister Marta has a dog, too.", "Say hello to Marta."),
)
DOG = "Dog name"


def asking(
    model: ModelId,
    text: str = DOG,
    count: int = 2,
    *,
    operation: str = "ask",
    before: Sequence[Message] = (),
    history_of: str | None = None,
) -> TurnRequest:
    wanted = Retrieval.of((*before, Message("user", text)), count)
    return replace(turn_of(model, operation, history_of=history_of), retrieval=wanted)


async def say(
    hosts: TurnGiver, model: ModelId, said: str, answered: str, operation: str, history_of: str | None = None
) -> Interaction:
    turn = await grant_of(hosts, turn_of(model, operation, history_of=history_of))
    return await hosts.finish_turn(turn, reply(answered, asked=said))


async def found(hosts: Hosts | ModelHost, request: TurnRequest) -> list[tuple[int, str]]:
    """Ask for a turn, give it up, and answer the positions and replies that it got, best first."""
    turn = await grant_of(hosts, request)
    await hosts.abandon_turn(turn, "it was only looked at")
    return [(one.position, one.answered) for one in turn.retrieved]


@pytest.fixture
async def ada(hosts: Hosts, tenant: str) -> ModelId:
    model = (await hosts.create_model(ModelId(tenant, "ada"))).model
    for number, (said, answered) in enumerate(SAID):
        await say(hosts, model, said, answered, f"op-{number}")
    return model


async def test_a_turn_gets_the_turns_that_fit_it_best_whatever_their_conversation(
    hosts: Hosts, ada: ModelId
) -> None:
    await say(hosts, ada, "My dog has a name tag.", "Good.", "op-4", history_of="elsewhere")

    assert [position for position, _ in await found(hosts, asking(ada, count=16))] == [4, 0, 2, 3]
    assert await found(hosts, asking(ada, "Lisbon?", 16)) == [(1, "Lisbon is beautiful.")]
    assert await found(hosts, asking(ada, "犬")) == []
    assert await found(hosts, turn_of(ada, "plain")) == []


@IN_ONE_PROCESS
async def test_what_was_said_a_turn_ago_is_found(hosts: Hosts, ada: ModelId) -> None:
    assert await found(hosts, asking(ada, "unicorn")) == []

    for number in range(4):
        await say(hosts, ada, f"A unicorn{number}, a unicorn.", "Oh.", f"later-{number}")
        assert await found(hosts, asking(ada, f"unicorn{number}", 1)) == [(len(SAID) + number, "Oh.")]


@IN_ONE_PROCESS
async def test_a_correction_is_found_by_its_own_words_and_comes_for_the_reply(
    hosts: Hosts, ada: ModelId
) -> None:
    assert await found(hosts, asking(ada, "Rex")) == []

    await hosts.give_feedback(ada, 2, Opinion(thumb=False, correction="Rex is yours."))

    assert await found(hosts, asking(ada, "Rex")) == [(2, "Rex is yours.")]


@IN_ONE_PROCESS
async def test_a_question_comes_only_with_a_corrected_answer(hosts: Hosts, ada: ModelId) -> None:
    await say(hosts, ada, "Is a dog name fine?", "It is.", "op-4")

    assert dict(await found(hosts, asking(ada, count=16))).keys() == {0, 2, 3}

    await hosts.give_feedback(ada, 4, Opinion(thumb=False, correction="Only for a dog."))

    assert (4, "Only for a dog.") in await found(hosts, asking(ada, count=16))


@IN_ONE_PROCESS
async def test_who_dislikes_a_reply_takes_back_nothing_of_what_they_said(hosts: Hosts, ada: ModelId) -> None:
    await found(hosts, asking(ada))

    await hosts.give_feedback(ada, 0, Opinion(thumb=False))

    assert 0 in dict(await found(hosts, asking(ada, count=16)))
    await hosts.give_feedback(ada, 2, Opinion(thumb=False, correction="Bruno."))
    assert (2, "Bruno.") in await found(hosts, asking(ada, count=16))


@IN_ONE_PROCESS
async def test_what_the_request_holds_already_does_not_come(hosts: Hosts, ada: ModelId) -> None:
    before = (Message("user", SAID[0][0]), Message("assistant", f" {SAID[0][1]}\n"))

    assert dict(await found(hosts, asking(ada, count=16, before=before))).keys() == {2, 3}
    changed = (before[0], Message("assistant", "Another reply."))
    assert 0 in dict(await found(hosts, asking(ada, count=16, before=changed)))


@IN_ONE_PROCESS
async def test_history_comes_besides_what_is_asked_for(hosts: Hosts, tenant: str) -> None:
    model = (await hosts.create_model(ModelId(tenant, "ada"))).model
    for number in range(3):
        await say(hosts, model, f"dog dog {number}", "in it", f"in-{number}", history_of="main")
    await say(hosts, model, "a dog and much else besides", "elsewhere", "out")

    turn = await grant_of(hosts, asking(model, "dog", 1, history_of="main"))

    assert [one.answered for one in turn.retrieved] == ["in it", "in it", "in it", "elsewhere"]


@IN_ONE_PROCESS
async def test_what_a_branch_brings_comes_besides_what_is_asked_for(hosts: Hosts, tenant: str) -> None:
    model = (await hosts.create_model(ModelId(tenant, "ada"))).model
    followed = await say(hosts, model, "dog dog", "brought", "in", history_of="main")
    await say(hosts, model, "a dog and much else besides", "elsewhere", "out")

    turn = await grant_of(hosts, replace(asking(model, "dog", 1), follows=followed.position))

    assert turn.brought == ((Message("user", "dog dog"), Message("assistant", "brought")),)
    assert [one.answered for one in turn.retrieved] == ["brought", "elsewhere"]


@IN_ONE_PROCESS
async def test_a_turn_that_was_said_twice_comes_once(hosts: Hosts, ada: ModelId) -> None:
    await say(hosts, ada, *SAID[1], "again")

    assert await found(hosts, asking(ada, "Lisbon", 16)) == [(len(SAID), "Lisbon is beautiful.")]


@IN_ONE_PROCESS
async def test_raw_prompts_and_restored_memories_are_not_found(hosts: Hosts, tenant: str) -> None:
    model = (await hosts.create_model(ModelId(tenant, "ada"))).model
    raw = replace(reply("Bruno"), messages=(Message("text", "My dog is called"),))
    await hosts.finish_turn(await grant_of(hosts, turn_of(model, "raw")), raw)
    await hosts.memories.restore(model, None, "restored")

    assert await found(hosts, asking(model, "dog Bruno as of the beginning")) == []


async def test_what_is_retrieved_is_in_the_log_and_a_retry_gets_it(hosts: Hosts, ada: ModelId) -> None:
    turn = await grant_of(hosts, asking(ada))
    shown = replace(reply("Bruno."), retrieved=(0, 2), context_digest=b"d" * 16)

    made = await hosts.finish_turn(turn, shown)

    assert made.retrieved == (0, 2)
    assert await hosts.read_log(ada, start=4) == (made,)
    again = await hosts.begin_turn(asking(ada))
    assert again == replace(made, replayed=True)


def chat(request: TurnRequest, text: str = DOG, *before: Message) -> ChatRequest:
    return ChatRequest(request, (*before, Message("user", text)), Sampling())


class Talk:
    """A host with an engine that says ``Bruno.``, and the model ``ada`` on it."""

    def __init__(self, make_host: MakeHost, limits: HostLimits | None = None) -> None:
        self.engine = ScriptedEngine(spoken("Bruno."))
        self.host = make_host(engine=self.engine, limits=limits)

    async def begin(self) -> None:
        await self.host.create_model(ADA)
        for number, (said, answered) in enumerate(SAID):
            await say(self.host, ADA, said, answered, f"op-{number}")

    @property
    def system(self) -> str:
        first = self.engine.requests[-1].prompt[0]
        assert isinstance(first, Message)
        return first.content if first.role == "system" else ""


@pytest.fixture
async def talk(make_host: MakeHost) -> Talk:
    one = Talk(make_host)
    await one.begin()
    return one


async def test_what_is_retrieved_is_told_in_a_system_message_in_the_logs_order(talk: Talk) -> None:
    made = await talk.host.chat(chat(asking(ADA)))

    system, question = talk.engine.requests[-1].prompt
    assert question == Message("user", DOG)
    assert isinstance(system, Message)
    assert system.role == "system"
    assert made.retrieved == (0, 2)
    assert system.content.index("Bruno") < system.content.index("That dog is mine.")
    assert made.messages == (Message("user", DOG),), "the log has what was said"


async def test_what_is_retrieved_is_told_behind_what_the_system_message_says(talk: Talk) -> None:
    await talk.host.chat(chat(asking(ADA), DOG, Message("system", "Be brief.")))

    assert len(talk.engine.requests[-1].prompt) == 2
    assert talk.system.startswith("Be brief.\n\n")
    assert "Bruno" in talk.system


async def test_a_question_is_asked_beside_the_turn_that_tells_the_answer(talk: Talk) -> None:
    asked = "What is my dog called?"
    before = (Message("system", "Be brief."), Message("user", "Hi."), Message("assistant", "Hello."))

    made = await talk.host.chat(chat(asking(ADA, asked, before=before), asked, *before))

    system, *conversation, question = talk.engine.requests[-1].prompt
    assert isinstance(system, Message)
    assert system.content.startswith("Be brief.\n\n")
    assert "Bruno" not in system.content
    assert tuple(conversation[:2]) == before[1:], "the conversation goes on"
    assert [one.role for one in conversation if isinstance(one, Message)] == ["user", "assistant"] * 4
    assert question == Message("user", f"{SAID[0][0]} {asked}")
    assert 0 in made.retrieved
    assert made.messages == (*before, Message("user", asked)), "the log has what was said"


@pytest.mark.parametrize("request_", [turn_of(ADA, "ask"), asking(ADA, "zebra"), asking(ADA, count=0)])
async def test_a_turn_that_nothing_is_retrieved_for_is_told_nothing(
    talk: Talk, request_: TurnRequest
) -> None:
    made = await talk.host.chat(chat(request_))

    assert talk.engine.requests[-1].prompt == (Message("user", DOG),)
    assert made.retrieved == ()


async def test_history_that_the_prompt_has_no_room_for_can_be_retrieved(make_host: MakeHost) -> None:
    talk = Talk(make_host)
    await talk.host.create_model(ADA)
    await say(talk.host, ADA, SAID[0][0], SAID[0][1], "old", history_of="main")
    await say(talk.host, ADA, "long " * 1000, "I see.", "long", history_of="main")
    await say(talk.host, ADA, "My dog sleeps.", "Good.", "new", history_of="main")

    made = await talk.host.chat(chat(asking(ADA, count=16, history_of="main")))

    assert (made.history_turns, made.retrieved) == (1, (0,))
    assert "Bruno" in talk.system


async def test_a_raw_prompt_is_told_nothing(talk: Talk) -> None:
    made = await talk.host.chat(replace(chat(asking(ADA)), messages=(Message("text", "Once upon"),)))

    assert talk.engine.requests[-1].prompt == "Once upon"
    assert made.retrieved == ()


async def test_the_words_of_a_log_lie_with_its_active_model_and_count_as_its_bytes(talk: Talk) -> None:
    before = (await talk.host.statistics())[0].resident_bytes

    await found(talk.host, asking(ADA))

    [model] = talk.host._active
    assert (await talk.host.statistics())[0].resident_bytes == before + model.index.bytes
    assert model.index.bytes > 0
    talk.host.check_integrity()
    await talk.host.give_feedback(ADA, 0, Opinion(correction="Bruno!"))
    assert (await talk.host.statistics())[0].resident_bytes == before
    assert talk.host.passivate(ADA)
    assert (await talk.host.statistics())[0].resident_bytes == 0
    assert [position for position, _ in await found(talk.host, asking(ADA))] == [0, 2]


async def test_the_words_of_a_log_make_those_leave_who_are_idle(make_host: MakeHost) -> None:
    talk = Talk(make_host, HostLimits(resident_bytes_max=2 * ACTIVATION_BYTES + 10))
    await talk.begin()
    other = (await talk.host.create_model(ModelId("acme", "ben"))).model
    await take_turn(talk.host, turn_of(other))
    assert len(talk.host._active) == 2

    await found(talk.host, asking(ADA))

    assert [model.id for model in talk.host._active] == [ADA]


async def test_words_that_there_is_no_room_for_are_read_anew_for_each_turn(make_host: MakeHost) -> None:
    talk = Talk(make_host, HostLimits(resident_bytes_max=ACTIVATION_BYTES + 10))
    await talk.begin()

    for _ in range(2):
        assert [position for position, _ in await found(talk.host, asking(ADA))] == [0, 2]
        [model] = talk.host._active
        assert model.index.bytes == 0
        talk.host.check_integrity()


async def test_the_erased_are_found_no_more_and_leave_no_words(talk: Talk) -> None:
    await found(talk.host, asking(ADA))

    await talk.host.erase_model(ADA)

    assert len(talk.host._active) == 0
    with pytest.raises(ModelNotFound):
        await talk.host.begin_turn(asking(ADA))
    await talk.host.create_model(ADA)
    assert await found(talk.host, asking(ADA)) == []


async def test_a_caller_who_leaves_while_the_log_is_searched_holds_up_nobody(talk: Talk) -> None:
    searching = asyncio.create_task(talk.host.begin_turn(asking(ADA)))
    await asyncio.sleep(0)
    searching.cancel()
    await asyncio.wait([searching])

    assert searching.cancelled()
    turn = await grant_of(talk.host, asking(ADA))
    await talk.host.abandon_turn(turn, "it was only looked at")


async def test_who_waits_for_a_search_when_the_host_closes_is_told_so(talk: Talk) -> None:
    searching = asyncio.create_task(talk.host.begin_turn(asking(ADA)))
    await asyncio.sleep(0)

    talk.host.close()

    with pytest.raises(HostUnavailable):
        await searching


async def test_a_turn_that_expired_while_the_log_was_searched_leaves_no_words(
    talk: Talk, clock: FakeClock
) -> None:
    searching = asyncio.create_task(talk.host.begin_turn(asking(ADA)))
    await asyncio.sleep(0)
    [model] = talk.host._active
    clock.advance(121)

    turn = await searching

    assert isinstance(turn, TurnGrant)
    assert not model.is_running(turn)
    assert model.index.bytes == 0


async def test_what_was_dropped_from_the_log_does_not_come_back(make_host: MakeHost) -> None:
    limits = LogLimits(interactions_min=1, interactions_max=TURNS_BETWEEN_LOOKS // 2)
    talk = Talk(make_host, HostLimits(operation_seconds_kept=0.0, log=limits))
    await talk.begin()
    assert 0 in dict(await found(talk.host, asking(ADA)))

    for number in range(len(SAID), TURNS_BETWEEN_LOOKS):
        await say(talk.host, ADA, f"My dog barks {number} times.", "Oh.", f"op-{number}")

    async def is_compacted() -> bool:
        return (await talk.host.show_model(ADA)).log_start > len(SAID)

    await wait_until(is_compacted)
    start = (await talk.host.show_model(ADA)).log_start
    assert min(position for position, _ in await found(talk.host, asking(ADA, count=16))) >= start
    [model] = talk.host._active
    assert model.index.ranked(["bruno"]) == []
