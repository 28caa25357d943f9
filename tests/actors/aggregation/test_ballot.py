"""Every member has a vote or a reason: at one deadline, whoever fails, rambles or never ends."""

import asyncio
from collections.abc import AsyncGenerator

import pytest

from populace.actors.aggregation.ballot import MEMBERS, Ballot, Member
from populace.actors.aggregation.question import Question
from populace.actors.engine import AdapterRef, Delta, GenerateRequest, Message
from populace.actors.errors import AdapterInvalid, InvalidRequest
from populace.actors.owner import Owner, Rank
from tests.actors.fakes import FakeClock, ScriptedEngine
from tests.actors.turns import wait_until

CITIES = ("Paris", "Rome", "Oslo")
ASKED = (Message("user", "Which one is in Italy?"),)
WHERE = Question(ASKED, k=3, kind="choice", choices=CITIES, seconds_max=10.0, seed=7)


def member(name: str) -> Member:
    return Member(name, AdapterRef(name, f"/revisions/{name}"), "votes")


class Chorus:
    """Each adapter says its line; None never ends."""

    def __init__(self, **lines: str | Exception | None) -> None:
        self.lines = lines
        self.waiting = asyncio.Event()

    async def __call__(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        line = self.lines["base" if request.adapter is None else request.adapter.digest]
        if isinstance(line, Exception):
            raise line
        if line is None:
            self.waiting.set()
            await asyncio.Event().wait()
        yield Delta(str(line), (1,), 5, finish_reason="stop")


async def test_members_answer_together_and_each_vote_comes_as_it_is_made() -> None:
    engine = ScriptedEngine(Chorus(ada="B.", bob="It is Rome.", base="I do not know."))
    members = [member("ada"), member("bob"), Member("cyd", None, "votes")]

    votes = [vote async for vote in Ballot(engine, FakeClock()).votes("acme", WHERE, members)]

    assert {(vote.place, vote.state, vote.answer) for vote in votes} == {
        (0, "voted", "B"),
        (1, "voted", "B"),
        (2, "abstained", None),
    }
    asked = engine.requests
    assert all(one.owner == Owner("acme", MEMBERS, Rank.POPULATION) and one.memory is None for one in asked)
    assert {one.sampling.seed for one in asked} == {7, 8, 9}
    assert {one.prompt for one in asked} == {WHERE.prompt}
    assert WHERE.prompt[-1].content.endswith("\nA. Paris\nB. Rome\nC. Oslo\nAnswer with one letter.")


async def test_who_never_ends_is_late_by_name_and_holds_no_slot() -> None:
    chorus = Chorus(ada="Rome", slow=None)
    engine, clock = ScriptedEngine(chorus), FakeClock()
    votes = Ballot(engine, clock).votes("acme", WHERE, [member("slow"), member("ada")])

    assert (await anext(votes)).place == 1, "who is quick is not kept waiting"
    await chorus.waiting.wait()
    clock.advance(10.0)
    late = await anext(votes)
    assert [vote async for vote in votes] == []

    assert (late.place, late.state, "after 10 s" in late.reason) == (0, "late", True)
    assert (engine.slots_held, clock.timers) == (0, 0)


async def test_who_fails_says_why_and_the_others_vote() -> None:
    engine = ScriptedEngine(Chorus(ada="Rome", bad=AdapterInvalid("it is torn")))

    votes = {
        vote.place: vote
        async for vote in Ballot(engine, FakeClock()).votes("acme", WHERE, [member("bad"), member("ada")])
    }

    assert (votes[0].state, "it is torn" in votes[0].reason) == ("failed", True)
    assert votes[1].answer == "B"


async def test_who_stops_listening_ends_what_is_being_answered() -> None:
    chorus = Chorus(ada="Rome", slow=None)
    engine, clock = ScriptedEngine(chorus), FakeClock()
    votes = Ballot(engine, clock).votes("acme", WHERE, [member("slow"), member("ada")])

    assert (await anext(votes)).place == 1
    await chorus.waiting.wait()
    await votes.aclose()

    assert (engine.slots_held, clock.timers) == (0, 0)


async def test_text_is_taken_whole_and_nothing_is_none() -> None:
    engine = ScriptedEngine(Chorus(ada=" A long story. ", bob="  \n"))

    votes = {
        vote.place: vote
        async for vote in Ballot(engine, FakeClock()).votes(
            "acme", Question(ASKED), [member("ada"), member("bob")]
        )
    }

    assert (votes[0].answer, votes[1].state) == ("A long story.", "abstained")
    assert engine.requests[0].prompt == ASKED


@pytest.mark.parametrize(
    ("question", "parameter"),
    [
        (Question(()), "messages"),
        (Question((Message("assistant", "Hi"),)), "messages"),
        (Question((Message("user", ""),)), "messages"),
        (Question(ASKED, k=0), "k"),
        (Question(ASKED, k=1000), "k"),
        (Question(ASKED, kind="poem"), "kind"),  # type: ignore[arg-type]
        (Question(ASKED, select="worst"), "select"),  # type: ignore[arg-type]
        (Question(ASKED, combine="sum"), "combine"),  # type: ignore[arg-type]
        (Question(ASKED, kind="choice"), "choices"),
        (Question(ASKED, choices=CITIES), "choices"),
        (Question(ASKED, kind="choice", choices=("one",)), "choices"),
        (Question(ASKED, kind="choice", choices=("one", "One")), "choices"),
        (Question(ASKED, seconds_max=float("inf")), "seconds_max"),
        (Question(ASKED, temperature=-1.0), "temperature"),
    ],
)
def test_what_nobody_can_ask_is_refused_by_name(question: Question, parameter: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        question.check()

    assert refusal.value.parameter == parameter


def test_questions_as_they_are_meant_are_allowed() -> None:
    WHERE.check()
    Question((Message("system", "Be brief."), *ASKED), kind="number", combine="weighted").check()


async def test_who_never_ends_holds_no_slot_after_the_deadline_though_no_one_reads_the_votes() -> None:
    chorus = Chorus(ada="Rome", slow=None)
    engine, clock = ScriptedEngine(chorus), FakeClock()
    votes = Ballot(engine, clock).votes("acme", WHERE, [member("slow"), member("ada")])
    await anext(votes)
    await chorus.waiting.wait()

    clock.advance(10.0)

    async def is_free() -> bool:
        return engine.slots_held == 0

    await wait_until(is_free)
    assert [(vote.place, vote.state) async for vote in votes] == [(0, "late")]
