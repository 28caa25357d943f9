"""A population answers from a real host's members, and of who is gone meanwhile nothing counts."""

from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest

from populace.actors.aggregation.aggregator import Aggregator, ProbeSet
from populace.actors.aggregation.ensemble import PopulationAnswer
from populace.actors.aggregation.question import Question
from populace.actors.engine import AdapterRef, Delta, GenerateRequest, Message
from populace.actors.errors import AdapterMismatch, InvalidRequest, NoMember, PopulationTooSmall
from populace.actors.host.model_host import ModelHost
from populace.actors.turn import ModelId
from populace.policies.diversity.probes import DIGEST, LABELS
from populace.storage.records.errors import ModelNotFound
from tests.actors.conftest import MakeHost
from tests.actors.fakes import BASE, FakeClock, ScriptedEngine
from tests.actors.turns import revision

CITIES = ("Paris", "Rome", "Oslo")
WHERE = Question((Message("user", "Which one is in Italy?"),), k=3, kind="choice", choices=CITIES)
NAMES = ("ada", "bob", "cyd", "dan")


class Says:
    """Each member's adapter says its line; before that it may do something."""

    def __init__(self) -> None:
        self.lines = {revision(name).digest: "Rome" for name in NAMES}
        self.first: dict[str, Callable[[], Awaitable[object]]] = {}

    async def __call__(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        assert request.adapter is not None
        act = self.first.get(request.adapter.digest)
        if act is not None:
            await act()
        yield Delta(self.lines[request.adapter.digest], (1,), 5, finish_reason="stop")


@pytest.fixture
def says() -> Says:
    return Says()


@pytest.fixture
async def host(make_host: MakeHost) -> ModelHost:
    """A host of four members with an adapter each, and one model that takes no part."""
    host = make_host()
    for name in (*NAMES, "eve"):
        made = revision(name)
        await host.create_model(ModelId("acme", name), made)
        if name in NAMES:
            await host.members.share(ModelId("acme", name), "votes")
    return host


@pytest.fixture
def aggregator(host: ModelHost, says: Says, clock: FakeClock) -> Aggregator:
    return Aggregator(
        host,
        ScriptedEngine(says),
        lambda digest: AdapterRef(digest, f"/revisions/{digest}"),
        probes=ProbeSet(DIGEST, LABELS),
        clock=clock,
    )


async def asked(
    aggregator: Aggregator, question: Question = WHERE, models: list[str] | None = None
) -> list[PopulationAnswer]:
    return [one async for one in aggregator.ask("acme", question, models)]


async def test_votes_come_one_after_the_other_and_end_in_an_answer(
    aggregator: Aggregator, says: Says
) -> None:
    says.lines[revision("bob").digest] = "Oslo"

    *partial, answer = await asked(aggregator)

    assert [one.is_final for one in partial] == [False, False]
    assert partial[0].reason.startswith("1 answered")
    assert (answer.is_final, answer.answer, answer.shares) == (
        True,
        "Rome",
        {"Rome": pytest.approx(2 / 3), "Oslo": pytest.approx(1 / 3)},
    )
    assert [(vote.model, vote.revision) for vote in answer.votes] == [
        (name, revision(name).digest) for name in ("ada", "bob", "cyd")
    ]


async def test_who_is_asked_for_by_name_answers(aggregator: Aggregator, host: ModelHost) -> None:
    [*_, answer] = await asked(aggregator, models=["dan", "ada", "bob", "dan"])

    assert [vote.model for vote in answer.votes] == ["dan", "ada", "bob"]
    assert await host.read_log(ModelId("acme", "ada")) == (), "nothing of it is recorded with a member"


async def test_who_is_erased_or_withdraws_while_it_answers_does_not_count(
    aggregator: Aggregator, says: Says, host: ModelHost
) -> None:
    says.lines[revision("ada").digest] = "Oslo"
    says.first[revision("ada").digest] = lambda: host.erase_model(ModelId("acme", "ada"))
    says.first[revision("bob").digest] = lambda: host.members.share(ModelId("acme", "bob"), None)
    question = Question(WHERE.messages, k=4, kind="choice", choices=CITIES)

    [*_, answer] = await asked(aggregator, question)

    assert [(vote.state, vote.answer) for vote in answer.votes[:2]] == [("gone", None)] * 2
    assert (answer.answer, "2 answered" in answer.reason) == (None, True), "two are too few to tell"


async def test_more_than_take_part_are_refused(aggregator: Aggregator, host: ModelHost) -> None:
    five = Question(WHERE.messages, k=5, kind="choice", choices=CITIES)

    with pytest.raises(PopulationTooSmall):
        await asked(aggregator, five)
    with pytest.raises(PopulationTooSmall):
        [one async for one in aggregator.ask("globex", WHERE)]
    with pytest.raises(NoMember, match="eve"):
        await asked(aggregator, models=["ada", "eve"])
    with pytest.raises(ModelNotFound):
        await asked(aggregator, models=["nobody"])
    with pytest.raises(InvalidRequest):
        await asked(aggregator, Question(()))


async def test_members_of_another_base_are_not_asked(host: ModelHost, says: Says, clock: FakeClock) -> None:
    engine = ScriptedEngine(says)
    engine.base = BASE._replace(fingerprint="c" * 64)
    probes = ProbeSet(DIGEST, LABELS)
    other = Aggregator(host, engine, lambda digest: AdapterRef(digest, ""), probes=probes, clock=clock)

    with pytest.raises(PopulationTooSmall, match="0 take part"):
        await asked(other)
    with pytest.raises(AdapterMismatch, match="ada is of the base"):
        await asked(other, models=["ada"])
