"""A personal model's memory is a fold over its log: each turn goes in once, whatever its client sends."""

import hashlib
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from populace.actors.engine import Delta, GenerateRequest, Message, Sampling
from populace.actors.errors import InvalidRequest, MemoryStateInvalid, MemoryStateMismatch
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.keepers.log_compactor import TURNS_BETWEEN_LOOKS
from populace.actors.keepers.turn_log import MEMORY_KEPT_EVERY
from populace.actors.memory import Memory, MemoryChoice
from populace.actors.owner import Owner
from populace.actors.turn import ChatRequest, Interaction, ModelId, TurnRequest
from populace.policies.log_retention import LogLimits
from populace.policies.retrieval import Retrieval
from populace.storage.records.records import MemoryRecord
from populace.storage.store import Store
from tests.actors.fakes import BASE, FakeClock, ScriptedEngine
from tests.actors.turns import wait_until

ADA = ModelId("acme", "ada")

TURNS = 3 * TURNS_BETWEEN_LOOKS
"""The last look at the log comes with the last turn."""

NOBODY_READS = MemoryChoice(read=False)


def folded(state: bytes | None, messages: list[str], reply_ids: tuple[int, ...]) -> bytes:
    """What the scripted engine's memory is: a digest of everything that was written, in order."""
    return hashlib.sha256((state or b"") + repr((messages, reply_ids)).encode()).digest()


async def remembering(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
    """Reply with how many messages there are; said again, with what was said."""
    prompt = request.prompt
    contents = [prompt] if isinstance(prompt, str) else [m.content for m in prompt if isinstance(m, Message)]
    reply = f"reply to {len(contents)}"
    ids = request.reply_ids or tuple(map(ord, reply))
    state: bytes | None = None
    if request.memory is not None and request.memory.new_from is not None:
        state = folded(request.memory.state, contents[request.memory.new_from :], ids)
        if "poison" in contents[-1]:
            raise MemoryStateInvalid("the reply left NaN or infinity in it")
    yield Delta("".join(map(chr, ids)), ids, 7, finish_reason="stop", memory=state)


def engine(module: str = "m" * 64) -> ScriptedEngine:
    one = ScriptedEngine(remembering)
    one.base = BASE._replace(memory_module=module)
    return one


class Person:
    """Talks to ada in one conversation as a client does that keeps the history itself."""

    def __init__(self, host: ModelHost) -> None:
        self.host = host
        self.history: tuple[Message, ...] = ()

    async def say(self, text: str, memory: MemoryChoice | None = None) -> Interaction:
        self.history = (*self.history, Message("user", text))
        turn = await self.host.chat(chat(self.history, memory=memory))
        self.history = (*self.history, Message("assistant", turn.reply))
        return turn


_operations = iter(range(10**6))


def chat(
    messages: tuple[Message, ...],
    *,
    memory: MemoryChoice | None = None,
    conversation: str | None = None,
    retrieve: int = 0,
) -> ChatRequest:
    operation = f"op-{next(_operations)}"
    wanted = Retrieval.of(messages, retrieve)
    turn = TurnRequest(ADA, operation, operation.encode(), history_of=conversation, retrieval=wanted)
    return ChatRequest(turn, messages, Sampling(), memory=memory or MemoryChoice())


@pytest.fixture
def open_host(tmp_path: Path, clock: FakeClock) -> Callable[..., ModelHost]:
    store = Store.create_or_open(tmp_path / "store", 1)

    def open_host(served: ScriptedEngine | None = None, **limits: object) -> ModelHost:
        bounds = replace(HostLimits(), **limits)  # type: ignore[arg-type]
        return ModelHost(
            "host", store, [0], base=BASE.fingerprint, clock=clock, engine=served or engine(), limits=bounds
        )

    return open_host


@pytest.fixture
async def host(open_host: Callable[..., ModelHost]) -> AsyncGenerator[ModelHost]:
    host = open_host()
    await host.create_model(ADA)
    yield host
    host.check_integrity()
    host.close()


async def state_of(host: ModelHost, position: int | None = None) -> bytes | None:
    return (await host.memories.show(ADA, position)).state


def ids(turn: Interaction) -> tuple[int, ...]:
    return tuple(map(ord, turn.reply))


async def test_a_turn_leaves_its_new_messages_and_its_reply_in_the_memory(host: ModelHost) -> None:
    first = await Person(host).say("hello")

    view = await host.memories.show(ADA)
    assert view.state == folded(None, ["hello"], ids(first))
    assert view.version == 1
    assert [(write.position, write.messages) for write in view.writes] == [(0, 1)]


async def test_a_history_that_is_sent_again_goes_in_once(host: ModelHost) -> None:
    person = Person(host)
    turns = [await person.say(text) for text in ("one", "two", "three")]

    expected: bytes | None = None
    for text, turn in zip(("one", "two", "three"), turns, strict=True):
        expected = folded(expected, [text], ids(turn))
    assert await state_of(host) == expected
    assert [turn.memory.written_from for turn in turns if turn.memory] == [0, 2, 4]


async def test_several_conversations_go_into_one_memory_in_the_order_of_their_turns(host: ModelHost) -> None:
    morning, evening = Person(host), Person(host)
    order = [(morning, "a"), (evening, "b"), (morning, "c"), (evening, "d")]

    expected: bytes | None = None
    for person, text in order:
        expected = folded(expected, [text], ids(await person.say(text)))
    assert await state_of(host) == expected


async def test_a_conversation_that_the_model_keeps_goes_in_once_too(host: ModelHost) -> None:
    expected: bytes | None = None
    for text in ("one", "two"):
        turn = await host.chat(chat((Message("user", text),), conversation="main"))
        expected = folded(expected, [text], ids(turn))
    assert turn.reply == "reply to 3"
    assert await state_of(host) == expected


async def test_a_question_that_is_answered_from_an_earlier_turn_does_not_write(host: ModelHost) -> None:
    told = await host.chat(chat((Message("user", "My dog is called Bruno."),)))
    asked = (Message("user", "What is my dog called?"),)
    read = await host.chat(chat(asked, retrieve=1))
    shown = await host.chat(chat((Message("user", "My dog, again."),), retrieve=1))

    assert [turn.memory and turn.memory.written_from for turn in (told, read, shown)] == [0, None, 0]
    assert read.memory is not None
    assert read.memory.read


async def test_a_turn_that_does_not_write_is_not_written_later(host: ModelHost) -> None:
    person = Person(host)
    first = await person.say("one")
    before = await state_of(host)
    secret = await person.say("a secret", MemoryChoice(write=False))

    assert secret.memory is not None
    assert secret.memory.written_from is None
    assert await state_of(host) == before == folded(None, ["one"], ids(first))

    third = await person.say("three")
    assert await state_of(host) == folded(before, ["three"], ids(third))


async def test_a_turn_may_write_without_reading(host: ModelHost) -> None:
    turn = await Person(host).say("one", NOBODY_READS)

    assert turn.memory is not None
    assert not turn.memory.read
    assert await state_of(host) == folded(None, ["one"], ids(turn))


async def test_a_turn_whose_state_is_refused_leaves_the_old_one(host: ModelHost) -> None:
    person = Person(host)
    await person.say("one")
    before = await host.memories.show(ADA)

    with pytest.raises(MemoryStateInvalid):
        await person.say("poison")

    assert await host.memories.show(ADA) == before
    assert [turn.answer is not None for turn in await host.read_log(ADA)] == [True, False]


async def test_the_memory_outlives_passivation_and_a_restart(
    host: ModelHost, open_host: Callable[..., ModelHost]
) -> None:
    await Person(host).say("one")
    before = await host.memories.show(ADA)
    host.close()

    again = open_host()
    try:
        assert await again.memories.show(ADA) == before
        turn = await Person(again).say("two")
        assert await state_of(again) == folded(before.state, ["two"], ids(turn))
    finally:
        again.close()


async def test_every_position_of_the_log_has_the_memory_that_it_had(host: ModelHost) -> None:
    person = Person(host)
    states = [await state_of(host)]
    for number in range(MEMORY_KEPT_EVERY + 9):
        choice = MemoryChoice(write=number % 5 != 3)
        await person.say(f"turn {number}", choice)
        states.append(await state_of(host))
        if number % 7 == 6:
            person.history = ()  # another conversation

    for position in (
        0,
        1,
        17,
        MEMORY_KEPT_EVERY - 1,
        MEMORY_KEPT_EVERY,
        MEMORY_KEPT_EVERY + 8,
        len(states) - 1,
    ):
        assert await state_of(host, position) == states[position]
        assert (await host.memories.show(ADA, position)).version == position


async def test_a_memory_can_be_set_back_and_goes_on_from_there(host: ModelHost) -> None:
    person = Person(host)
    await person.say("one")
    early = await state_of(host)
    await person.say("two")

    restored = await host.memories.restore(ADA, 1, "restore-1")
    assert await state_of(host) == early
    assert (await host.memories.restore(ADA, 1, "restore-1")).position == restored.position

    turn = await Person(host).say("three")
    assert await state_of(host) == folded(early, ["three"], ids(turn))
    assert await state_of(host, 3) == early, "the log knows that it was set back"


async def test_a_memory_that_is_set_back_many_times_is_never_said_again_for_each(
    open_host: Callable[..., ModelHost],
) -> None:
    served = engine()
    host = open_host(served)
    try:
        await host.create_model(ADA)
        await Person(host).say("one")
        early = await state_of(host)
        await Person(host).say("two")
        for number in range(MEMORY_KEPT_EVERY - 8):
            await host.memories.restore(ADA, 1 + number % 3, f"restore-{number}")
        before = len(served.requests)

        assert await state_of(host, MEMORY_KEPT_EVERY - 10) is not None
        assert len(served.requests) - before <= 2
        assert {one.owner for one in served.requests} == {Owner(*ADA)}, "also of those that say a turn again"
        await host.memories.restore(ADA, 1, "the last")
        assert await state_of(host) == early
    finally:
        host.close()


async def test_a_memory_can_be_emptied_and_what_was_said_is_not_written_again(host: ModelHost) -> None:
    person = Person(host)
    await person.say("one")

    turn = await host.memories.restore(ADA, None, "forget")

    assert turn.memory is not None
    assert turn.memory.is_set
    assert await state_of(host) is None
    after = await person.say("two")
    assert await state_of(host) == folded(None, ["two"], ids(after))
    assert await state_of(host, 2) is None


async def test_a_memory_that_cannot_be_read_can_be_emptied(host: ModelHost) -> None:
    """A release that took in any archive may have left one."""
    person = Person(host)
    for text in ("one", "two"):
        await person.say(text)
    exported = await host.export_model(ADA)
    assert exported.memory is not None
    stored = MemoryRecord.unpack(exported.memory).model_copy(update={"payload": b"\xff" * 40})
    await host.erase_model(ADA)
    await host.import_model(ADA, exported._replace(memory=stored.pack()))
    with pytest.raises(MemoryStateInvalid):
        await host.chat(chat((*person.history, Message("user", "three"))))
    with pytest.raises(MemoryStateInvalid):
        await host.memories.show(ADA)

    await host.memories.restore(ADA, None, "empty")

    assert await state_of(host) is None
    turn = await person.say("three")
    assert await state_of(host) == folded(None, ["three"], ids(turn)), "what was said is not written again"


async def test_turns_of_another_memory_module_are_not_said_again_with_this_one(
    host: ModelHost, open_host: Callable[..., ModelHost]
) -> None:
    """What they left is known; what they would have left under another module never was."""
    person = Person(host)
    for text in ("one", "two", "three"):
        await person.say(text)
    present = await state_of(host)
    host.close()

    other = open_host(engine("n" * 64))
    try:
        assert await state_of(other) == present
        for position in (1, 2):
            with pytest.raises(MemoryStateMismatch):
                await state_of(other, position)
            with pytest.raises(MemoryStateMismatch):
                await other.memories.restore(ADA, position, f"restore-{position}")
        assert (await other.show_model(ADA)).log_position == 3
        await other.memories.restore(ADA, None, "forget")
        turn = await Person(other).say("four")
        assert await state_of(other) == folded(None, ["four"], ids(turn))
    finally:
        other.close()


@pytest.mark.parametrize("position", [-1, 2, 10**6])
async def test_a_position_that_the_log_does_not_have_is_refused(host: ModelHost, position: int) -> None:
    await Person(host).say("one")

    with pytest.raises(InvalidRequest, match="from 0 to 1"):
        await host.memories.show(ADA, position)
    with pytest.raises(InvalidRequest, match="from 0 to 1"):
        await host.memories.restore(ADA, position, "restore")
    assert not host.check_integrity()
    assert (await Person(host).say("two")).position == 1


async def test_a_forked_model_begins_with_the_memory_and_goes_its_own_way(host: ModelHost) -> None:
    person = Person(host)
    await person.say("one")
    twin = ModelId("acme", "twin")
    await host.import_model(twin, await host.export_model(ADA))
    before = await state_of(host)

    await person.say("two")

    assert (await host.memories.show(twin)).state == before
    assert await state_of(host) != before


async def test_a_namesake_of_an_erased_model_remembers_nothing(host: ModelHost) -> None:
    await Person(host).say("one")
    await host.erase_model(ADA)
    await host.create_model(ADA)

    view = await host.memories.show(ADA)
    assert (view.version, view.state, view.writes) == (0, None, ())


async def test_a_log_with_a_memory_is_compacted_where_its_memory_is_kept(
    open_host: Callable[..., ModelHost], clock: FakeClock
) -> None:
    host = open_host(operation_seconds_kept=10, log=LogLimits(interactions_min=4, interactions_max=8))
    try:
        await host.create_model(ADA)
        states: list[bytes | None] = [None]
        for number in range(TURNS):
            if number % 3:
                await Person(host).say(f"turn {number}")
            elif number % 2:
                await host.chat(chat((Message("user", f"turn {number}"),), conversation="main"))
            else:
                await host.memories.restore(ADA, number, f"restore-{number}")
            states.append(await state_of(host))
            clock.advance(1)

        async def is_compacted() -> bool:
            return (await host.show_model(ADA)).log_start == 2 * MEMORY_KEPT_EVERY

        await wait_until(is_compacted)
        for position in range(2 * MEMORY_KEPT_EVERY, TURNS + 1, 5):
            if position >= 3 * MEMORY_KEPT_EVERY or position == 2 * MEMORY_KEPT_EVERY:
                assert await state_of(host, position) == states[position]
                continue
            # Some turns here were shown what the log has dropped since.
            with suppress(InvalidRequest):
                assert await state_of(host, position) == states[position]
        with pytest.raises(InvalidRequest, match="the log dropped"):
            await state_of(host, 2 * MEMORY_KEPT_EVERY + 20)
        host.check_integrity()
    finally:
        host.close()


def test_a_packed_memory_comes_back_the_same() -> None:
    memory = Memory(b"state", (b"12345678", b"87654321"))

    assert Memory.unpack(memory.pack()) == memory
    assert Memory.unpack(None) == Memory()
    assert Memory.unpack(Memory().pack()) == Memory()


def test_a_damaged_memory_is_refused_by_name() -> None:
    packed = Memory(b"state", (b"12345678",)).pack()

    for damaged in (packed[:3], packed[:-3], packed[:10], b"XXXX" + packed[4:]):
        with pytest.raises(MemoryStateInvalid):
            Memory.unpack(damaged)
