"""Collects what a tenant's people let their community learn, and sees to it that they still do.

A job learns from those who had agreed when it started, from what they had said and liked by then: so that
another trainer that takes it over collects the same. Who withdraws or is erased meanwhile, or forgets a turn,
is found by ``is_still_agreed``, and the job is begun again from those who are left.
"""

import asyncio
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from populace.actors.feedback import Feedback
from populace.actors.forgetting import FORGET_ROLE, SAID_ROLES
from populace.actors.hosts import Hosts
from populace.actors.tool_calls import TOOL_ROLE
from populace.actors.training import TrainingJob
from populace.actors.turn import Interaction, ModelId
from populace.learning.examples import Example, examples_of
from populace.policies.community import HELD_OUT_MAX, LIKED_MAX, Liked, ToldWords, for_everybody
from populace.storage.records.errors import ModelNotFound
from populace.trainer.log_data import PAGE, read_log_data, settled_position

_TurnId = tuple[str, int]
"""The completion id of a turn, which is of its model and operation, and its time; copies have the same."""


class Contributed(NamedTuple):
    """What one person lets everybody learn: liked replies, oldest first.

    The person is named by the ``id`` of the consent that was given at ``since_ms``. ``log_end`` is where the
    log ended when it was read.
    """

    model: ModelId
    id: str
    since_ms: int
    log_end: int
    examples: tuple[Example, ...]

    @property
    def taught(self) -> list[Example]:
        """The examples to learn."""
        return [example for example in self.examples if not example.is_held_out]

    @property
    def held_out(self) -> list[Example]:
        """The newest of those that judge the candidate."""
        return [example for example in self.examples if example.is_held_out][-HELD_OUT_MAX:]


@dataclass(frozen=True, slots=True)
class Contributions:
    """What a tenant's people let everybody learn, in the order of their ids.

    ``told`` are the words that they told, where models with a turn in common are one person's. ``liked``
    counts their liked replies, also those that are left out.
    """

    people: Sequence[Contributed]
    told: ToldWords
    liked: int


async def collect(hosts: Hosts, job: TrainingJob) -> Contributions:
    """Read what those who agreed before the job started let everybody learn.

    Raises ``ModelNotFound`` for one who is erased meanwhile, and what ``Hosts`` raises.
    """
    assert job.started_ms is not None, "it has started"
    started_ms = job.started_ms
    people: list[Contributed] = []
    turns: list[frozenset[_TurnId]] = []
    texts: list[list[str]] = []
    for consent in await hosts.contributors.of_tenant(job.model.tenant):
        assert consent.id is not None
        assert consent.since_ms is not None
        if consent.model == job.model or consent.since_ms >= started_ms:
            continue
        view = await hosts.show_model(consent.model)
        span = (view.log_start, await settled_position(hosts, view))
        whole, given = await read_log_data(hosts, consent.model, span, started_ms)
        log = [turn for turn in whole if turn.created_ms < started_ms]
        turns.append(frozenset((turn.completion_id, turn.created_ms) for turn in log))
        texts.append(list(_told(log, given)))
        liked = await asyncio.to_thread(_liked, log, given)
        people.append(Contributed(consent.model, consent.id, consent.since_ms, span[1], tuple(liked)))
    told = await asyncio.to_thread(_told_words, texts, one_persons(turns))
    ordered = sorted(people, key=lambda person: person.id)
    candidates = [[_exchange(example, at) for at, example in enumerate(one.examples)] for one in ordered]
    places = for_everybody(candidates, told)
    chosen = [
        person._replace(examples=tuple(person.examples[at] for at in kept))
        for person, kept in zip(ordered, places, strict=True)
    ]
    return Contributions(chosen, told, sum(map(len, candidates)))


async def is_still_agreed(hosts: Hosts, job: TrainingJob, contributions: Contributions) -> bool:
    """Whether all whose text was collected still agree, and have forgotten nothing since."""
    consents = await hosts.contributors.of_tenant(job.model.tenant)
    agreed = {consent.id: consent.since_ms for consent in consents}
    for person in contributions.people:
        if agreed.get(person.id) != person.since_ms or await _has_forgotten(hosts, person):
            return False
    return True


async def _has_forgotten(hosts: Hosts, person: Contributed) -> bool:
    """Whether the log has a turn that forgets since it was read; what it forgot may be older."""
    start = person.log_end
    try:
        while page := await hosts.read_log(person.model, start=start, limit=PAGE):
            if any(turn.messages[0].role == FORGET_ROLE for turn in page):
                return True
            start = page[-1].position + 1
    except ModelNotFound:
        return True
    return False


def one_persons(turns: Sequence[Collection[_TurnId]]) -> list[int]:
    """Return for each model, given the turns of its log, the number of the first one of its person.

    A fork or an import of a model has its turns. Two models are one person's if they have a turn in common,
    or each has one with a third.
    """
    first: dict[_TurnId, int] = {}
    merged = list(range(len(turns)))

    def person(model: int) -> int:
        while merged[model] != model:
            model = merged[model]
        return model

    for model, of_model in enumerate(turns):
        for turn in of_model:
            one, other = person(model), person(first.setdefault(turn, model))
            merged[max(one, other)] = min(one, other)
    return [person(model) for model in range(len(turns))]


def _told_words(texts: Sequence[Sequence[str]], people: Sequence[int]) -> ToldWords:
    told = ToldWords()
    for person, of_model in zip(people, texts, strict=True):
        for text in of_model:
            told.add(person, text)
    return told


def _told(log: Sequence[Interaction], given: Sequence[Feedback]) -> Iterator[str]:
    """Yield what the person said or wrote, in messages and corrections."""
    for turn in log:
        if turn.messages[0].role not in SAID_ROLES:
            yield from (
                message.content for message in turn.messages if message.role not in ("assistant", TOOL_ROLE)
            )
    yield from (one.opinion.correction for one in given if one.opinion.correction is not None)


def _liked(log: Sequence[Interaction], given: Sequence[Feedback]) -> list[Example]:
    liked = [
        example
        for example in examples_of(log, given)
        if example.judged.liked and example.judged.correction is None and example.reply
    ]
    return liked[-LIKED_MAX:]


def _exchange(example: Example, place: int) -> Liked:
    asked = next((message.content for message in reversed(example.prompt) if message.role == "user"), "")
    return Liked(asked, example.reply, place)
