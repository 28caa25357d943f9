"""What somebody thinks of a reply is kept with it, the same for hosts in this process and on Ray."""

import asyncio
import math

import pytest

from populace.actors.errors import InvalidRequest
from populace.actors.feedback import CORRECTION_CHARACTERS_MAX, Opinion, judged, thumb_of
from populace.actors.hosts import Hosts
from populace.actors.turn import ModelId
from populace.policies.lessons import Judgement
from populace.storage.records.errors import (
    FeedbackFull,
    InteractionNotFound,
    ModelNotFound,
    OperationConflict,
)
from populace.storage.rows.feedback import FEEDBACK_MAX
from tests.actors.populations import IN_ONE_PROCESS
from tests.actors.turns import take_turn, turn_of

UP, DOWN = Opinion(thumb=True), Opinion(thumb=False)


@pytest.fixture
async def ada(hosts: Hosts, tenant: str) -> ModelId:
    """A model of three turns."""
    model = (await hosts.create_model(ModelId(tenant, "ada"))).model
    for number in range(3):
        await take_turn(hosts, turn_of(model, f"op-{number}"), f"Hello {number}.")
    return model


@pytest.mark.parametrize(
    ("said", "thumb"), [(True, True), ("up", True), (False, False), ("down", False), (None, None)]
)
def test_a_thumb_is_true_or_up_and_false_or_down(said: object, thumb: bool | None) -> None:
    assert thumb_of(said) is thumb


@pytest.mark.parametrize("said", ["Up", "yes", "", 1, 0, 0.5, ["up"]])
def test_whatever_else_is_given_as_a_thumb_is_refused_by_name(said: object) -> None:
    with pytest.raises(InvalidRequest, match="A thumb is True or 'up', or False or 'down'") as refused:
        thumb_of(said)

    assert refused.value.parameter == "thumb"


async def test_feedback_finds_its_reply_by_position_and_by_completion_id(hosts: Hosts, ada: ModelId) -> None:
    log = await hosts.read_log(ada)

    first = await hosts.give_feedback(ada, 0, Opinion(rating=0.75, reward=-2.0))
    last = await hosts.give_feedback(ada, log[1].completion_id, Opinion(correction="Dzień dobry."))

    assert (first.position, last.position) == (0, 1)
    assert await hosts.read_feedback(ada) == (first, last)
    assert await hosts.read_feedback(ada, start=1) == (last,)
    assert await hosts.read_feedback(ada, limit=1) == (first,)
    assert await hosts.read_log(ada) == log, "the log is what was said"


@IN_ONE_PROCESS
async def test_the_same_opinion_again_counts_once_and_with_keys_as_often_as_there_are(
    hosts: Hosts, ada: ModelId
) -> None:
    first, *others = await asyncio.gather(*(hosts.give_feedback(ada, 1, UP) for _ in range(5)))
    keyed = await hosts.give_feedback(ada, 1, UP, "key-1")
    again = await hosts.give_feedback(ada, 1, UP, "key-1")

    assert others == [first] * 4
    assert again == keyed
    assert len(await hosts.read_feedback(ada)) == 2


@pytest.mark.parametrize(
    ("first", "other", "kept", "judgement"),
    [
        (Opinion(correction="A."), Opinion(correction="B."), 3, Judgement(correction="A.")),
        (UP, DOWN, 3, Judgement(liked=True)),
        (UP, Opinion(rating=0.0), 3, Judgement(liked=True)),
        (Opinion(rating=0.0, reward=1.0), UP, 3, Judgement(liked=False, reward=1.0)),
        (Opinion(True, None, "A."), Opinion(correction="B."), 3, Judgement(True, "A.")),
        (UP, Opinion(correction="B."), 2, Judgement(True, "B.")),
        (Opinion(correction="A."), Opinion(rating=0.0, reward=1.0), 2, Judgement(False, "A.", 1.0)),
    ],
)
@IN_ONE_PROCESS
async def test_who_changes_their_mind_back_has_said_something_new(
    hosts: Hosts, ada: ModelId, first: Opinion, other: Opinion, kept: int, judgement: Judgement
) -> None:
    for said in (first, first, other, first, first):
        await hosts.give_feedback(ada, 1, said)

    given = await hosts.read_feedback(ada)

    assert len(given) == kept
    assert judged(given) == judgement


async def test_a_key_that_said_something_else_is_a_conflict(hosts: Hosts, ada: ModelId) -> None:
    await hosts.give_feedback(ada, 1, UP, "key-1")

    with pytest.raises(OperationConflict):
        await hosts.give_feedback(ada, 1, DOWN, "key-1")

    assert [one.opinion for one in await hosts.read_feedback(ada)] == [UP]


@pytest.mark.parametrize(
    ("opinion", "parameter"),
    [
        (Opinion(), "thumb"),
        (Opinion(rating=-0.1), "rating"),
        (Opinion(rating=1.1), "rating"),
        (Opinion(rating=math.nan), "rating"),
        (Opinion(thumb=True, reward=math.inf), "reward"),
        (Opinion(reward=math.nan), "reward"),
        (Opinion(correction=" \n"), "correction"),
        (Opinion(correction="x" * (CORRECTION_CHARACTERS_MAX + 1)), "correction"),
    ],
)
@IN_ONE_PROCESS
async def test_an_opinion_that_is_none_is_refused_by_name(
    hosts: Hosts, ada: ModelId, opinion: Opinion, parameter: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        await hosts.give_feedback(ada, 0, opinion)

    assert caught.value.parameter == parameter
    assert await hosts.read_feedback(ada) == ()


@pytest.mark.parametrize("on", [3, -1, 2**62, "chatcmpl-unknown", ""])
@IN_ONE_PROCESS
async def test_what_was_never_said_takes_no_feedback(hosts: Hosts, ada: ModelId, on: int | str) -> None:
    with pytest.raises(InteractionNotFound):
        await hosts.give_feedback(ada, on, UP)


@IN_ONE_PROCESS
async def test_a_stranger_has_no_opinion(hosts: Hosts, ada: ModelId) -> None:
    stranger = ModelId("somebody-else", "ada")

    for call in (hosts.give_feedback(stranger, 0, UP), hosts.read_feedback(stranger)):
        with pytest.raises(ModelNotFound):
            await call


@IN_ONE_PROCESS
async def test_one_reply_takes_so_many_opinions(hosts: Hosts, ada: ModelId) -> None:
    for number in range(FEEDBACK_MAX):
        await hosts.give_feedback(ada, 0, UP, f"key-{number}")

    with pytest.raises(FeedbackFull):
        await hosts.give_feedback(ada, 0, UP, "key-more")

    assert len(await hosts.read_feedback(ada)) == FEEDBACK_MAX


@IN_ONE_PROCESS
async def test_turns_go_on_while_people_think_of_them(hosts: Hosts, ada: ModelId) -> None:
    await asyncio.gather(
        *(hosts.give_feedback(ada, number % 3, Opinion(reward=float(number))) for number in range(12)),
        *(take_turn(hosts, turn_of(ada, f"more-{number}")) for number in range(3)),
    )

    assert (await hosts.show_model(ada)).log_position == 6
    assert len(await hosts.read_feedback(ada)) == 12


async def test_what_was_thought_of_a_model_comes_along(hosts: Hosts, ada: ModelId) -> None:
    given = await hosts.give_feedback(ada, 1, Opinion(thumb=False, correction="No."))

    copy = ModelId(ada.tenant, "zoe")
    await hosts.import_model(copy, await hosts.export_model(ada))

    [came] = await hosts.read_feedback(copy)
    assert (came.position, came.opinion, came.created_ms) == (1, given.opinion, given.created_ms)
