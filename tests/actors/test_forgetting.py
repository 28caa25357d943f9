"""What was forgotten is in no state, row or prompt, and whatever else was said is as if it had never been."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from populace.actors.engine import Delta, GenerateRequest, Message, Sampling
from populace.actors.errors import InvalidRequest, MemoryStateMismatch, TurnExpired
from populace.actors.feedback import Opinion
from populace.actors.forgetting import CONVERSATION_ROLE, FORGET_ROLE, FOUND_MAX, TURNS_MAX, Forgotten
from populace.actors.host.forgetter import CATCH_UPS_MAX
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.keepers.turn_log import MEMORY_KEPT_EVERY
from populace.actors.turn import ChatRequest, Interaction, TurnGrant, TurnRequest
from populace.actors.turns.setting import remark
from populace.policies.log_retention import LogLimits
from populace.storage.records import keys
from populace.storage.records.errors import (
    InteractionForgotten,
    InteractionNotFound,
    ModelNotFound,
    OperationConflict,
    PositionConflict,
)
from populace.storage.records.records import OperationRecord
from populace.storage.rows.forgetting import FORGOTTEN_ROLE
from populace.storage.store import Store
from tests.actors.fakes import BASE, FakeClock, ScriptedEngine
from tests.actors.forgetful import ADA, Ada, engine, remembering
from tests.actors.turns import reply, turn_of, wait_until

SECRET = "My password is swordfish-4711."

OpenHost = Callable[..., ModelHost]


@pytest.fixture
def open_host(tmp_path: Path, clock: FakeClock) -> OpenHost:
    store = Store.create_or_open(tmp_path / "store", 1)

    def open_host(served: ScriptedEngine | None = None, limits: HostLimits | None = None) -> ModelHost:
        return ModelHost(
            "host",
            store,
            [0],
            base=BASE.fingerprint,
            clock=clock,
            engine=served or engine(),
            limits=limits,
        )

    return open_host


@pytest.fixture
async def ada(open_host: OpenHost) -> AsyncGenerator[Ada]:
    host = open_host()
    await host.create_model(ADA)
    yield Ada(host)
    host.check_integrity()
    host._owned.check_rows()
    host.close()


def said_in(turns: tuple[Interaction, ...]) -> str:
    return repr([(turn.messages, turn.reply, turn.operation) for turn in turns])


async def test_of_a_forgotten_turn_nothing_is_left_but_its_place(ada: Ada) -> None:
    await ada.say("Hello.")
    await ada.say(SECRET, conversation="secrets")
    await ada.host.give_feedback(ADA, 1, Opinion(correction="swordfish-4711, noted."))

    told = await ada.forget(1)

    assert (told.positions, told.already, told.memory, told.position) == ((1,), (), "folded", 2)
    kept, gone, forgot = await ada.log()
    assert "swordfish" not in said_in((kept, gone, forgot))
    assert (kept.reply, gone.reply, gone.forgotten) == ("I heard: Hello.", "", True)
    assert gone.messages == (Message(FORGOTTEN_ROLE, ""),)
    assert (gone.conversation, gone.prompt_tokens, gone.completion_tokens) == (None, 0, 0)
    assert forgot.messages[0].role == FORGET_ROLE
    assert await ada.host.read_feedback(ADA) == ()


async def test_the_memory_is_that_of_a_log_in_which_it_was_never_said(ada: Ada) -> None:
    await ada.say("one")
    without = await ada.state()
    await ada.say(SECRET)
    assert await ada.state() != without

    await ada.forget(1)

    assert await ada.state() == without
    assert await ada.state(2) == without
    assert (await ada.say("two")).position == 3


class Said(NamedTuple):
    """One turn of a life; ``how``: its client sends the history, or it is of a conversation, or both.

    A client that "brings" sends another turn before it, which it had elsewhere. One that is not ``answered``
    gets no reply.
    """

    text: str
    how: str | None
    writes: bool
    answered: bool = True


LIVES = st.lists(
    st.builds(
        Said,
        st.sampled_from(["red", "green dog", "a longer message of five"]),
        st.sampled_from([None, "client", "main", "other", "client main", "client brings"]),
        st.sampled_from([True, True, True, False]),
        st.sampled_from([True, True, False]),
    ),
    min_size=1,
    max_size=9,
)


async def live(ada: Ada, life: list[Said], *, without: frozenset[int] = frozenset()) -> None:
    for number, said in enumerate(life):
        if number not in without:
            if said.how == "client brings":
                ada.sent += (Message("user", f"elsewhere {number}"), Message("assistant", f"noted {number}"))
            conversation = (said.how or "").removeprefix("client").removesuffix("brings").strip() or None
            sends_history = said.how is not None and "client" in said.how
            text = f"{said.text} {number}"
            if not said.answered:
                lost = await ada.lose(text, conversation=conversation, sends_history=sends_history)
                assert lost.answer is None
                continue
            await ada.say(text, conversation=conversation, sends_history=sends_history, write=said.writes)


@contextmanager
def served() -> Generator[Ada]:
    with TemporaryDirectory() as folder:
        store = Store.create_or_open(Path(folder) / "store", 1)
        host = ModelHost("host", store, [0], base=BASE.fingerprint, clock=FakeClock(), engine=engine())
        try:
            yield Ada(host)
            host.check_integrity()
            host._owned.check_rows()
        finally:
            host.close()


@given(LIVES, st.sets(st.integers(0, 8), min_size=1, max_size=3), st.none() | st.integers(0, 8))
@example(
    # What the first brought and did not write, as nobody replied, the second wrote; the third has it, too.
    [Said("red", "client brings", True, False), Said("red", "client", True), Said("red", "client", True)],
    {1},
    None,
)
@settings(max_examples=80, deadline=None)
def test_forgetting_leaves_the_state_of_a_model_that_was_never_told(
    life: list[Said], chosen: set[int], restored: int | None
) -> None:
    """Its twin leads the same life without these turns; both were set back to the same moment, or neither."""
    without = frozenset(one for one in chosen if one < len(life)) or frozenset({0})
    moment = None if restored is None else min(restored, len(life))
    asyncio.run(_leaves_the_state_of_its_twin(life, without, moment))


async def _leaves_the_state_of_its_twin(
    life: list[Said], without: frozenset[int], moment: int | None
) -> None:
    later = [Said("goodbye", how, True) for how in ("main", None, "client main")]
    with served() as ada, served() as twin:
        for one, gone in ((ada, frozenset[int]()), (twin, without)):
            await one.host.create_model(ADA)
            await live(one, life, without=gone)
            if moment is not None:
                before = moment - sum(place < moment for place in gone)
                await one.host.memories.restore(ADA, before, "restore")

        told = await ada.forget(*without)

        assert set(told.positions) == without
        assert await ada.state() == await twin.state()
        assert await ada.state(len(await ada.log()) - 1) == await twin.state(), "the log says so too"
        for one in (ada, twin):
            await live(one, later)
        assert await ada.state() == await twin.state()
        assert await ada.forget(*without) == Forgotten(ADA, already=tuple(sorted(without)))


async def test_later_turns_are_named_that_were_shown_it_and_keep_nothing_of_it_but_their_replies(
    ada: Ada,
) -> None:
    await ada.say(SECRET, conversation="main", sends_history=True)
    await ada.say("And now?", conversation="main")
    await ada.say("Anything else?", sends_history=True)
    await ada.say("My password, please.", retrieve=3)
    await ada.say("Nice weather.")
    await ada.say(f"{SECRET} I said so.")

    told = await ada.forget(0)

    assert told.shown == (1, 2, 3)
    assert told.repeated == (5,)
    assert str(told) == (
        "Turn 0 was forgotten. Turns 1, 2 and 3 were shown that, and may repeat it. "
        "The same words are in turn 5."
    )
    log = await ada.log()
    assert "swordfish" not in said_in(log[:5])
    assert [turn.reply for turn in log[1:4]] == [
        "I heard: And now?",
        "I heard: Anything else?",
        "I heard: My password, please.",
    ]
    assert (log[1].history_turns, [one.content for one in log[2].messages]) == (0, ["Anything else?"])
    assert 0 not in log[3].retrieved
    assert (await ada.forget(1, 2, 3, 5)).positions == (1, 2, 3, 5)
    assert await ada.state() == await _state_after("Nice weather.")


async def test_a_turn_that_had_it_in_the_messages_of_its_history_is_named_and_still_written(ada: Ada) -> None:
    await ada.say(SECRET, sends_history=True)
    await ada.say("I live in Rome.", sends_history=True, conversation="main")
    await ada.say("My cat is called Luna.", conversation="main")

    told = await ada.forget(0)

    assert told.shown == (1, 2)
    with served() as twin:
        await twin.host.create_model(ADA)
        await twin.say("I live in Rome.", conversation="main")
        await twin.say("My cat is called Luna.", conversation="main")
        assert await ada.state() == await twin.state()


async def test_a_turn_in_which_nothing_else_was_sent_goes_with_it(ada: Ada) -> None:
    """Its client let the model go on with the reply, so that the rest of it is a reply to nothing."""
    await ada.say(SECRET, sends_history=True)
    turn = TurnRequest(ADA, "op-on", b"on", history_of="main")
    await ada.host.chat(ChatRequest(turn, (Message("system", "Be brief."), *ada.sent), Sampling()))
    await ada.say("And now?", conversation="main")

    told = await ada.forget(0)

    assert (told.positions, told.shown) == ((0, 1), (2,))
    assert "swordfish" not in said_in(await ada.log())
    assert await ada.state() == await _state_after("And now?")


async def test_what_a_turn_was_the_first_to_bring_is_found_and_goes_with_it(ada: Ada) -> None:
    """Its client had it from elsewhere, or took one of several replies of which none was kept."""
    ada.sent = (Message("user", SECRET), Message("assistant", "Noted, I keep swordfish-4711."))
    await ada.say("Thanks.", sends_history=True)
    await ada.say("And now?", sends_history=True)
    before = ada.sent
    assert [turn.position for turn in (await ada.host.forgetting.find(ADA, "swordfish")).found] == [0]

    told = await ada.forget(0)

    assert (told.positions, told.shown) == ((0,), (1,))
    assert "swordfish" not in said_in(await ada.log())
    assert await ada.state() == await _state_after("And now?")
    made = await ada.say("And then?", sends_history=True)
    assert [one.content for one in made.messages] == ["And now?", "I heard: And now?", "And then?"]
    ada.sent = before[:2]
    assert [one.content for one in (await ada.say("Hello?", sends_history=True)).messages] == ["Hello?"]


async def test_forgetting_a_later_turn_leaves_what_another_one_brought_or_says(ada: Ada) -> None:
    ada.sent = (Message("user", "I live in Rome."), Message("assistant", "Noted."))
    await ada.say("Thanks.", sends_history=True)
    await ada.say(SECRET, sends_history=True)
    await ada.say("And now?", sends_history=True)

    await ada.forget(1)

    left = ["I live in Rome.", "Noted.", "Thanks.", "I heard: Thanks.", "And now?"]
    assert [one.content for one in (await ada.log())[2].messages] == left


async def test_a_reply_that_its_client_began_is_found_by_what_it_answers_and_does_not_come_back(
    ada: Ada,
) -> None:
    begun = (Message("user", SECRET), Message("assistant", "Sure, "))
    made = await ada.host.chat(ChatRequest(TurnRequest(ADA, "op-begun", b"begun"), begun, Sampling()))
    assert [turn.position for turn in (await ada.host.forgetting.find(ADA, "swordfish")).found] == [0]

    await ada.forget(0)

    for sent in (
        (*begun, Message("assistant", made.reply)),
        (begun[0], Message("assistant", f"Sure, {made.reply}")),
        (begun[0], Message("assistant", made.reply)),
    ):
        ada.sent = sent
        assert [one.content for one in (await ada.say("Hello?", sends_history=True)).messages] == ["Hello?"]


async def _state_after(*texts: str) -> bytes | None:
    with served() as other:
        await other.host.create_model(ADA)
        for text in texts:
            await other.say(text)
        return await other.state()


async def test_who_sends_it_again_with_a_history_does_not_bring_it_back(ada: Ada) -> None:
    served = ada.host._engine
    assert isinstance(served, ScriptedEngine)
    await ada.say(SECRET, sends_history=True)
    await ada.forget(0)

    made = await ada.say("And now?", sends_history=True)

    assert [one.content for one in made.messages] == ["And now?"]
    assert "swordfish" not in repr(served.requests[-1].prompt)
    assert await ada.state() == await _state_after("And now?")
    assert "swordfish" not in said_in(await ada.log())


async def test_a_history_of_nothing_but_what_was_forgotten_is_refused(ada: Ada) -> None:
    await ada.say(SECRET, sends_history=True)
    await ada.forget(0)

    for number, messages in enumerate((ada.sent, (Message("system", "Be brief."), *ada.sent))):
        turn = TurnRequest(ADA, f"op-again-{number}", b"again")
        with pytest.raises(InvalidRequest, match="forgotten, and nothing else"):
            await ada.host.chat(ChatRequest(turn, messages, Sampling()))

    assert len(await ada.log()) == 2


async def test_what_a_tool_returned_for_a_forgotten_call_is_answered_no_more(ada: Ada) -> None:
    await ada.say(SECRET, sends_history=True)
    await ada.forget(0)

    messages = (*ada.sent, Message("tool", "sunny"))
    again = ChatRequest(TurnRequest(ADA, "op-again", b"again"), messages, Sampling())
    with pytest.raises(InvalidRequest, match="forgotten, and nothing else"):
        await ada.host.chat(again)


async def test_what_a_tool_returned_for_a_call_goes_with_the_call(ada: Ada) -> None:
    await ada.say(SECRET, sends_history=True)
    messages = (Message("system", "Be brief."), *ada.sent, Message("tool", "swordfish-4711 is right"))
    await ada.host.chat(ChatRequest(TurnRequest(ADA, "op-told", b"told"), messages, Sampling()))
    await ada.say("And now?", conversation="main")

    told = await ada.forget(0)

    assert told.positions == (0, 1)
    assert "swordfish" not in said_in(await ada.log())
    assert await ada.state() == await _state_after("And now?")


async def test_what_is_told_anew_is_said_and_stays_in_its_clients_history(ada: Ada) -> None:
    name = "My name is Ada."
    await ada.say(name)
    await ada.forget(0)
    await ada.say(name, sends_history=True)

    made = await ada.say("What is my name?", sends_history=True)

    assert [one.content for one in made.messages] == [name, f"I heard: {name}", "What is my name?"]
    assert await ada.state() == await _state_after_history(name, "What is my name?")
    await ada.forget(2)
    assert await ada.state() == await _state_after("What is my name?")
    assert name not in said_in(await ada.log())
    made = await ada.say("Who am I?", sends_history=True)
    assert [one.content for one in made.messages] == [
        "What is my name?",
        "I heard: What is my name?",
        "Who am I?",
    ]


async def test_what_another_turn_says_as_well_stays_in_every_history(ada: Ada) -> None:
    await ada.say("Hi.", conversation="other")
    await ada.say("Hi.", sends_history=True)
    await ada.say("How are you?", sends_history=True)

    told = await ada.forget(1)

    assert (told.shown, told.repeated) == ((), (0,))
    sent = ["Hi.", "I heard: Hi.", "How are you?"]
    assert [one.content for one in (await ada.log())[2].messages] == sent
    made = await ada.say("And now?", sends_history=True)
    assert [one.content for one in made.messages][:3] == sent
    await ada.forget(0)
    assert "Hi." not in said_in(await ada.log())


async def _state_after_history(*texts: str) -> bytes | None:
    with served() as other:
        await other.host.create_model(ADA)
        for text in texts:
            await other.say(text, sends_history=True)
        return await other.state()


async def test_retrieval_finds_it_no_more(ada: Ada) -> None:
    await ada.say(SECRET)
    assert (await ada.say("What is my password?", retrieve=2)).retrieved == (0,)
    await ada.forget(0)

    assert 0 not in (await ada.say("What is my password?", retrieve=2)).retrieved


async def test_no_state_that_had_it_is_kept_anywhere(ada: Ada) -> None:
    """Every 64th turn keeps the memory it was served with, and a turn that sets the memory what it leaves."""
    await ada.say("one")
    await ada.say(SECRET)
    states: list[bytes] = []
    for number in range(MEMORY_KEPT_EVERY + 3):
        states.append(await ada.state() or b"")
        await ada.say(f"turn {number}")
        if number == 20:
            await ada.host.memories.restore(ADA, 10, "restore-10")
    early = await ada.state(1)
    states.append(await ada.state() or b"")

    await ada.forget(1)

    kept = b"".join(value for _, value in rows_of(ada.host))
    assert [index for index, state in enumerate(states) if state in kept] == []
    assert await ada.state(1) == early
    assert await ada.state(MEMORY_KEPT_EVERY + 1) is not None


def rows_of(host: ModelHost) -> list[tuple[bytes, bytes]]:
    """All rows of the shard, opened."""
    with host._owned.read(0) as txn:
        return list(txn.scan(b""))


@pytest.mark.parametrize("position", [2, 10**6])
async def test_a_turn_that_does_not_exist_is_an_error_and_nothing_is_forgotten(
    ada: Ada, position: int
) -> None:
    await ada.say("one")
    await ada.say("two")
    before = rows_of(ada.host)

    with pytest.raises(InteractionNotFound):
        await ada.forget(0, position)

    assert rows_of(ada.host) == before
    assert (await ada.say("three")).position == 2


async def test_how_many_turns_are_forgotten_at_once_is_bounded(ada: Ada) -> None:
    for positions in ((), range(TURNS_MAX + 1)):
        with pytest.raises(InvalidRequest, match=f"1 to {TURNS_MAX} turns"):
            await ada.forget(*positions)


async def test_forgetting_twice_says_that_it_is_forgotten_and_does_nothing(ada: Ada) -> None:
    await ada.say(SECRET)
    await ada.say("two")
    await ada.forget(0)
    before = rows_of(ada.host)

    again = await ada.forget(0)

    assert again == Forgotten(ADA, already=(0,))
    assert str(again) == "Turn 0 was forgotten before."
    assert rows_of(ada.host) == before
    both = await ada.forget(0, 1)
    assert (both.positions, both.already) == ((1,), (0,))


async def test_a_retry_of_forgetting_gets_the_first_answer(ada: Ada) -> None:
    await ada.say(SECRET)
    await ada.say("And now?", conversation=None)
    first = await ada.forget(0, operation="forget-it")

    assert await ada.forget(0, operation="forget-it") == first
    with pytest.raises(OperationConflict):
        await ada.forget(1, operation="forget-it")
    assert len(await ada.log()) == 3


async def test_two_who_forget_the_same_at_once_forget_it_once(ada: Ada) -> None:
    await ada.say(SECRET)

    answers = await asyncio.gather(*(ada.forget(0) for _ in range(4)))

    assert sorted(answer.positions for answer in answers) == [(), (), (), (0,)]
    assert len(await ada.log()) == 2


async def test_a_retry_of_a_forgotten_turn_runs_nothing(ada: Ada) -> None:
    made = await ada.say(SECRET, operation="the-turn")
    await ada.forget(0)

    with pytest.raises(InteractionForgotten):
        await ada.say(SECRET, operation="the-turn")
    with pytest.raises(InteractionForgotten):
        await ada.say("something else", operation="the-turn")
    for on in (0, made.completion_id):
        with pytest.raises(InteractionForgotten):
            await ada.host.give_feedback(ADA, on, Opinion(thumb=True))
    assert len(await ada.log()) == 2


async def test_what_was_no_conversation_cannot_be_forgotten(ada: Ada) -> None:
    await ada.say("one")
    await ada.host.memories.restore(ADA, 0, "restore")
    await ada.forget(0)

    for position in (1, 2):
        with pytest.raises(InvalidRequest, match="nothing was said"):
            await ada.forget(position)


async def test_a_model_that_does_not_exist_has_nothing_to_forget(ada: Ada) -> None:
    nobody = ADA._replace(name="nobody")

    with pytest.raises(ModelNotFound):
        await ada.host.forgetting.forget(nobody, [0], "op")
    with pytest.raises(ModelNotFound):
        await ada.host.forgetting.find(nobody, "password")


async def test_a_reply_that_was_made_before_it_was_forgotten_is_not_committed_after(
    open_host: OpenHost,
) -> None:
    """Its host died meanwhile, so that nothing but the log knows of the turn."""
    first = open_host()
    await first.create_model(ADA)
    await Ada(first).say(SECRET)
    grant = await first.begin_turn(turn_of(ADA, "op-late"))
    assert isinstance(grant, TurnGrant)
    first.close()
    second = open_host()
    try:
        await Ada(second).forget(0, operation="forget")

        with pytest.raises(PositionConflict):
            await second.finish_turn(grant, reply("Your password is swordfish-4711."))

        assert "swordfish" not in said_in(await Ada(second).log())
    finally:
        second.close()


async def test_a_memory_that_cannot_be_folded_again_is_kept_until_it_may_be_emptied(
    ada: Ada, open_host: OpenHost
) -> None:
    await ada.say("one")
    await ada.say(SECRET)
    await ada.say("two")
    before = rows_of(ada.host)
    ada.host.close()
    for served in (engine("n" * 64), engine(None)):
        other = open_host(served)
        try:
            with pytest.raises(MemoryStateMismatch, match="another memory module"):
                await Ada(other).forget(1, operation="forget")
            assert [row for row in rows_of(other) if row[0][:1] != b"!"] == [
                row for row in before if row[0][:1] != b"!"
            ]
        finally:
            other.close()
    emptied = open_host(engine(None))
    try:
        told = await Ada(emptied).forget(1, operation="forget", memory="emptied")

        assert told.memory == "emptied"
        assert await Ada(emptied).state() is None
        assert "swordfish" not in said_in(await Ada(emptied).log())
        emptied._owned.check_rows()
    finally:
        emptied.close()


async def test_a_model_without_a_memory_forgets_as_well(open_host: OpenHost) -> None:
    host = open_host(engine(None))
    try:
        await host.create_model(ADA)
        ada = Ada(host)
        await ada.say(SECRET)

        assert (await ada.forget(0)).memory is None

        assert "swordfish" not in said_in(await ada.log())
        host._owned.check_rows()
    finally:
        host.close()


async def test_a_fork_does_not_let_it_come_back_either(ada: Ada) -> None:
    await ada.say(SECRET, sends_history=True)
    await ada.forget(0)
    twin = ADA._replace(name="twin")
    await ada.host.import_model(twin, await ada.host.export_model(ADA))
    turn = TurnRequest(twin, "op-fork", b"fork")

    made = await ada.host.chat(ChatRequest(turn, (*ada.sent, Message("user", "And now?")), Sampling()))

    assert [one.content for one in made.messages] == ["And now?"]


async def test_a_log_is_compacted_over_what_was_forgotten(open_host: OpenHost, clock: FakeClock) -> None:
    limits = LogLimits(interactions_min=1, interactions_max=8)
    host = open_host(limits=HostLimits(operation_seconds_kept=10, log=limits))
    try:
        await host.create_model(ADA)
        ada = Ada(host)
        await ada.say(SECRET, sends_history=True)
        await ada.forget(0)
        for number in range(2 * MEMORY_KEPT_EVERY):
            clock.advance(1)
            await ada.say(f"turn {number}")

        async def is_compacted() -> bool:
            return (await host.show_model(ADA)).log_start == MEMORY_KEPT_EVERY

        await wait_until(is_compacted)
        host._owned.check_rows()
        with pytest.raises(InteractionNotFound):
            await ada.forget(0)
        made = await ada.say("And now?", sends_history=True)
        assert [one.content for one in made.messages] == ["And now?"]
    finally:
        host.close()


async def test_words_find_turns_and_forget_nothing(ada: Ada) -> None:
    await ada.say("Hello.")
    await ada.say("My password is swordfish-4711.")
    await ada.say("A dog barked at my door.")
    await ada.host.give_feedback(ADA, 2, Opinion(correction="The passphrase was new."))
    before = rows_of(ada.host)

    by_words = {
        words: [turn.position for turn in (await ada.host.forgetting.find(ADA, words)).found]
        for words in ("my password", "PASSWORD", "swordfish", "passphrase", "heard my")
    }

    assert by_words == {
        "my password": [1],
        "PASSWORD": [1],
        "swordfish": [1],
        "passphrase": [2],
        "heard my": [1, 2],
    }
    assert rows_of(ada.host) == before


async def test_where_no_turn_has_all_words_the_nearest_are_told_as_such(ada: Ada) -> None:
    await ada.say("The bank wants a password.")
    await ada.say("Nice weather.")

    nearest = await ada.host.forgetting.find(ADA, "my password please")
    nothing = await ada.host.forgetting.find(ADA, "unicorn")

    assert ([turn.position for turn in nearest.near], nearest.found) == ([0], ())
    assert nothing == Forgotten(ADA)
    assert str(nothing) == "Nothing was found, and nothing was forgotten."


async def test_a_word_that_many_turns_have_makes_none_of_them_near(ada: Ada) -> None:
    for said in ("My dog is Rex.", "My boat is green.", "My city is Oslo.", "My job is dull.", "A bank."):
        await ada.say(said)

    found = await ada.host.forgetting.find(ADA, "my password")

    assert (found.found, found.near) == ((), ())


async def test_words_that_say_nothing_or_fit_too_much_are_refused(ada: Ada) -> None:
    for number in range(FOUND_MAX + 1):
        await ada.say(f"dog {number}")

    with pytest.raises(InvalidRequest, match="say more"):
        await ada.host.forgetting.find(ADA, "dog")
    for words in ("", "  ", "?!"):
        with pytest.raises(InvalidRequest, match="by words that were said"):
            await ada.host.forgetting.find(ADA, words)


async def test_what_was_forgotten_is_not_found(ada: Ada) -> None:
    await ada.say(SECRET)
    await ada.forget(0)

    assert (await ada.host.forgetting.find(ADA, "password")).found == ()


async def test_words_that_stay_in_a_system_message_are_found_and_named(ada: Ada) -> None:
    """A client sends its notes about the person with every turn, and began to at the second one."""
    notes = Message("system", f"About the user: {SECRET}")
    await ada.say("Hello.", sends_history=True)
    for number in range(3):
        ada.sent = (notes, *(message for message in ada.sent if message.role != "system"))
        await ada.say(f"turn {number}", sends_history=True)
    ada.sent = (notes, Message("user", "elsewhere"), Message("assistant", "noted"))
    await ada.say("another chat", sends_history=True)

    found = await ada.host.forgetting.find(ADA, "password swordfish")
    told = await ada.host.forgetting.forget(ADA, "password swordfish", "forget")

    assert (found.found_at, found.repeated) == ((1,), (2, 3, 4))
    assert str(found) == "Turn 1 was found. Nothing was forgotten. The same words are in turns 2, 3 and 4."
    assert (told.positions, told.shown, told.repeated) == ((1,), (2, 3), (4,))
    assert (await ada.host.forgetting.find(ADA, "password swordfish")).found_at == (2,)


async def test_a_turn_whose_system_message_has_the_forgotten_words_is_named(ada: Ada) -> None:
    sent = (("Be brief.", SECRET), (f"About: {SECRET.upper()}", "Hello."), ("Be brief.", "And now?"))
    for number, (notes, text) in enumerate(sent):
        messages = (Message("system", notes), Message("user", text))
        turn = TurnRequest(ADA, f"op-{number}", text.encode())
        await ada.host.chat(ChatRequest(turn, messages, Sampling()))

    told = await ada.forget(0, operation="forget")

    assert (told.shown, told.repeated) == ((), (1,)), "that its client tells each turn to be brief is none"


async def test_a_turn_does_not_come_back_in_a_history_that_was_cut_or_has_no_replies(ada: Ada) -> None:
    made = await ada.say(SECRET)
    cut = (Message("assistant", made.reply),)
    unanswered = (Message("user", SECRET),)
    for sent in (cut, unanswered):
        ada.sent = sent
        await ada.say("And now?", sends_history=True)

    told = await ada.forget(0)

    assert (told.positions, told.shown) == ((0,), (1, 2))
    assert "swordfish" not in repr([turn.messages for turn in await ada.log()])
    for sent in (cut, unanswered):
        ada.sent = sent
        assert [one.content for one in (await ada.say("So?", sends_history=True)).messages] == ["So?"]


async def test_a_message_that_another_turn_says_as_well_stays_before_others(ada: Ada) -> None:
    hello = Message("user", "Hello, Ada here.")
    ada.sent = (hello,)
    await ada.say("Who am I?", sends_history=True)
    await ada.say(hello.content)
    await ada.say("Nice weather.")
    await ada.say("Nice weather.", write=False)

    await ada.forget(1, 2)

    assert (await ada.log())[0].messages[0] == hello
    for said in (hello, Message("user", "Nice weather.")):
        ada.sent = (said,)
        assert (await ada.say("So?", sends_history=True)).messages[0] == said


async def test_a_message_that_is_told_anew_stays_before_others(ada: Ada) -> None:
    await ada.say(SECRET)
    await ada.forget(0)
    await ada.say(SECRET)
    ada.sent = (Message("user", SECRET),)

    assert (await ada.say("So?", sends_history=True)).messages[0] == ada.sent[0]


async def test_words_beside_a_turn_are_found_and_named(ada: Ada) -> None:
    """They are in a correction of its reply, or in the metadata that a client keeps with its response."""
    await ada.say(SECRET)
    await ada.say("Hello.")
    await ada.host.give_feedback(ADA, 1, Opinion(correction=f"As you said: {SECRET}"))
    turn = TurnRequest(ADA, "op-note", b"note")
    note = json.dumps({"model": "ada", "metadata": {"topic": f"zebra, {SECRET}"}})
    await ada.host.chat(ChatRequest(turn, (Message("user", "And now?"),), Sampling(), note=note))
    turn = TurnRequest(ADA, "op-imported", b"imported")
    imported = Message("user", "Nice weather.")
    await ada.host.chat(ChatRequest(turn, (imported,), Sampling(), note="no JSON, but giraffe"))

    assert (await ada.host.forgetting.find(ADA, "giraffe")).found_at == (3,)
    assert (await ada.host.forgetting.find(ADA, "zebra")).found_at == (2,)
    assert (await ada.host.forgetting.find(ADA, "metadata")).found == ()
    assert (await ada.forget(0)).repeated == (1, 2)
    assert (await ada.host.forgetting.find(ADA, "swordfish")).found_at == (1, 2)


async def test_nothing_can_be_written_where_it_could_not_be_forgotten(ada: Ada) -> None:
    await ada.say(SECRET)
    await ada.host.memories.restore(ADA, 0, "restore")
    await remark(ada.host, ADA, Message(CONVERSATION_ROLE, "{}"), "remark", turn_seconds_max=9)
    told = await ada.forget(0)

    for position in range(1, 4):
        with pytest.raises(InvalidRequest, match=f"Turn {position} has no reply") as refused:
            await ada.host.give_feedback(ADA, position, Opinion(correction=SECRET))
        assert refused.value.parameter == "position"
    with pytest.raises(InteractionForgotten):
        await ada.host.give_feedback(ADA, 0, Opinion(thumb=True))
    assert (told.position, await ada.host.read_feedback(ADA)) == (3, ())


@pytest.mark.parametrize("interruptions", [0, 1, CATCH_UPS_MAX + 1])
async def test_a_model_that_is_talked_to_forgets_although_its_replays_outlast_a_turn(
    open_host: OpenHost, clock: FakeClock, interruptions: int
) -> None:
    """Each reply is said again once, however often something is said meanwhile."""
    left = interruptions
    replays: list[str] = []

    async def interrupted(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        nonlocal left
        if request.reply_ids is not None:
            replays.append(request.request_id)
            clock.advance(3)
            if left and len(replays) >= 4:
                left -= 1
                await ada.say(f"meanwhile {left}", sends_history=True)
        async for delta in remembering(request):
            yield delta

    served = ScriptedEngine(interrupted)
    served.base = engine().base
    host = open_host(served)
    try:
        await host.create_model(ADA)
        ada = Ada(host)
        for text in (SECRET, "one", "two", "three", "four"):
            await ada.say(text, sends_history=True)

        told = await host.forgetting.forget(ADA, [0], "forget", turn_seconds_max=4)

        assert (told.positions, left) == ((0,), 0)
        assert len(replays) == len(set(replays)) == 4 + interruptions
        meanwhile = [f"meanwhile {number}" for number in reversed(range(interruptions))]
        assert await ada.state() == await _state_after_history("one", "two", "three", "four", *meanwhile)
        host._owned.check_rows()
    finally:
        host.close()


async def test_a_turn_that_forgets_ends_at_its_deadline_and_has_changed_nothing(open_host: OpenHost) -> None:
    """What was said meanwhile, again and again, takes longer to compute than the turn may last."""
    replays = 0

    async def interrupted(request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        nonlocal replays
        if request.reply_ids is not None:
            replays += 1
            if replays > CATCH_UPS_MAX + 1:
                await asyncio.Event().wait()
            await ada.say(f"meanwhile {replays}")
        async for delta in remembering(request):
            yield delta

    served = ScriptedEngine(interrupted)
    served.base = engine().base
    host = open_host(served)
    try:
        await host.create_model(ADA)
        ada = Ada(host)
        for text in (SECRET, "one"):
            await ada.say(text)

        with pytest.raises(TurnExpired, match="was in use"):
            await host.forgetting.forget(ADA, [0], "forget", turn_seconds_max=0.05)

        assert (await ada.log())[0].messages == (Message("user", SECRET),)
        assert (await ada.say("And now?")).position == 2 + CATCH_UPS_MAX + 1
    finally:
        host.close()


async def test_no_digest_is_left_of_a_later_request_that_had_it_and_a_retry_is_still_one(ada: Ada) -> None:
    await ada.say(SECRET, sends_history=True)
    await ada.say("Nice weather.", operation="op-other")
    sent = ada.sent
    made = await ada.say("And now?", sends_history=True, operation="op-later")

    await ada.forget(0)

    with ada.host._owned.read(0) as txn:
        kept = [txn.get(keys.operation(*ADA, name)) for name in ("op-later", "op-other")]
    assert [OperationRecord.unpack(row or b"").body_hash == b"" for row in kept] == [True, False]
    ada.sent = sent
    again = await ada.say("And now?", sends_history=True, operation="op-later")
    assert (again.position, again.reply, again.replayed) == (made.position, made.reply, True)
    with pytest.raises(OperationConflict):
        await ada.say("Bad weather.", operation="op-other")
