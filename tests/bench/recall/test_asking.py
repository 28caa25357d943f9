"""What people tell goes into their memory turn by turn, and what they ask leaves no trace."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from populace.actors.engine import AdapterRef, BaseInfo, Delta, GenerateRequest, MemoryUse, Message
from populace.policies.tellings import READING_TASK
from scripts.bench.recall.asking import Asker, Progress, alone, side_by_side
from scripts.bench.recall.chatter import chat, drawn_chatter, hear_base
from scripts.bench.recall.held_out import Say
from scripts.bench.recall.person import NOTES_HEADING, WAYS, Person


class NotingEngine:
    """An engine whose state is the list of what was told, and whose reply is how many times it was asked."""

    def __init__(self) -> None:
        self.requests: list[GenerateRequest] = []
        self.running = 0
        self.running_most = 0

    @property
    def base(self) -> BaseInfo:
        return BaseInfo("noting", "f" * 64, 512)

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        raise NotImplementedError

    async def forget(self, adapter: AdapterRef) -> None:
        raise NotImplementedError

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        self.requests.append(request)
        text = f"reply {len(self.requests)}"
        self.running += 1
        self.running_most = max(self.running_most, self.running)
        await asyncio.sleep(0)
        self.running -= 1
        memory, state = request.memory, None
        if memory is not None and memory.new_from is not None:
            told = [
                message.content
                for message in request.prompt[memory.new_from :]
                if isinstance(message, Message)
            ]
            state = (memory.state or b"") + "".join(f"{text};" for text in told).encode()
        yield Delta(text, request.reply_ids or (1, 2), 5, finish_reason="stop", memory=state)


@pytest.fixture
def engine() -> NotingEngine:
    return NotingEngine()


@pytest.fixture
def asker(engine: NotingEngine) -> Asker:
    return Asker(engine, Progress(lambda step, share: None, 1), reply_tokens=9, requests_max=3)


async def test_each_turn_begins_with_the_state_that_the_last_one_left(
    asker: Asker, engine: NotingEngine
) -> None:
    person = Person(asker)

    await person.tell_all(["a", "b"])
    await person.ask("c?")

    assert [request.memory for request in engine.requests] == [
        MemoryUse(None, read=True, new_from=0),
        MemoryUse(b"a;", read=True, new_from=0),
        MemoryUse(b"a;b;", read=True, new_from=None),
    ]
    assert engine.requests[2].prompt == alone("c?")
    assert asker.state_bytes == len(b"a;b;")


async def test_in_one_conversation_only_what_is_new_is_written(asker: Asker, engine: NotingEngine) -> None:
    person = Person(asker)

    await person.tell_all(["a", "b"], together=True)
    await person.ask("c?")

    assert engine.requests[1].prompt == (*alone("a"), Message("assistant", "reply 1"), Message("user", "b"))
    assert engine.requests[2].memory == MemoryUse(b"a;b;", read=True, new_from=None)


async def test_each_way_of_knowing_a_person_shows_its_own(asker: Asker, engine: NotingEngine) -> None:
    asked: dict[str, GenerateRequest] = {}
    for way in set(WAYS) - {"neighbours"}:
        person = Person(asker, way)
        await person.tell_all(["My cat is Mia.", "It rains."])
        await person.ask("What is my cat called?")
        asked[way] = engine.requests[-1]

    remembering = {way for way, request in asked.items() if request.memory}
    assert remembering == {"memory", "memory and retrieval", "memory and history"}
    assert asked["memory and history"].prompt[::2] == asked["history"].prompt[::2]
    assert asked["nothing"].prompt == asked["memory"].prompt == alone("What is my cat called?")
    assert asked["history"].prompt[::2] == tuple(
        Message("user", said) for said in ("My cat is Mia.", "It rains.", "What is my cat called?")
    )
    for way in ("retrieval", "memory and retrieval"):
        assert asked[way].prompt[0] == Message("system", READING_TASK)
        assert asked[way].prompt[-1] == Message("user", "My cat is Mia. What is my cat called?")
    system, question = asked["notes"].prompt
    assert isinstance(system, Message)
    assert system.content.startswith(NOTES_HEADING)
    assert "Mia" not in system.content, "the engine's notes are its replies"
    assert question == Message("user", "What is my cat called?")


async def test_a_history_is_what_fits_and_nothing_of_the_conversation_itself(
    asker: Asker, engine: NotingEngine
) -> None:
    person = Person(asker, "history")
    await person.tell_all([f"{number} {'x' * 300}" for number in range(9)])
    conversation = await person.tell("And this?")

    await person.ask("Now?", conversation)

    prompt = [message.content for message in engine.requests[-1].prompt if isinstance(message, Message)]
    shown = [content[0] for content in prompt if content.endswith("x")]
    assert shown == list("678")
    assert prompt[-3:] == [*(message.content for message in conversation), "Now?"]


async def test_the_base_is_asked_once_and_without_a_memory(asker: Asker, engine: NotingEngine) -> None:
    first, second = await asker.base(alone("a")), await asker.base(alone("a"))

    assert first is second
    [request] = engine.requests
    assert request.memory is None
    assert request.sampling.temperature == 0
    assert request.sampling.max_tokens == 9


async def test_a_chat_says_the_replies_of_the_base_again(asker: Asker, engine: NotingEngine) -> None:
    says, person = [Say(say="x"), Say(say="y")], Person(asker)

    await hear_base(asker, [says, says])
    conversation = await chat(asker, person, says, together=True)

    heard, turns = engine.requests[:2], engine.requests[2:]
    assert [request.memory for request in heard] == [None, None]
    assert [request.reply_ids for request in turns] == [(1, 2), (1, 2)]
    assert [message.content for message in conversation] == ["x", "reply 1", "y", "reply 2"]


async def test_no_more_are_asked_at_once_than_allowed(asker: Asker, engine: NotingEngine) -> None:
    await side_by_side([asker.base(alone(str(number))) for number in range(20)])

    assert engine.running_most == 3


def test_a_chat_that_is_longer_than_the_set_begins_again() -> None:
    says = [Say(say=text) for text in "abc"]

    drawn = drawn_chatter(says, 7, "somebody")

    assert len(drawn) == 7
    assert {one.say for one in drawn[:3]} == {one.say for one in drawn[3:6]} == {"a", "b", "c"}
    assert drawn == drawn_chatter(says, 7, "somebody")


def test_progress_never_goes_back() -> None:
    shares: list[float] = []
    progress = Progress(lambda step, share: shares.append(share), 2)

    progress.begin("one", 1)
    progress.step()
    progress.step()
    progress.begin("two", 2)
    progress.step()

    assert shares == [0.0, 0.5, 0.5, 0.5, 0.75]
