"""A job learns corrections until they are said, the earlier ones too, and is judged by what it replies."""

import json
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from populace.actors.engine import Message
from populace.actors.feedback import Opinion
from populace.actors.training_options import TrainingOptions
from populace.adapters.lora.shape import LoraShape
from populace.adapters.lora.trainable import TrainableAdapter
from populace.engines.prompts import BaseTokenizer
from populace.learning.frozen_base import FrozenBase
from populace.learning.general_replies import GeneralJudge
from populace.learning.general_requests import JUDGED, KEPT, PERSONAL
from populace.learning.lower_part import LowerPart
from populace.learning.on_policy.sampler import EngineSampler
from populace.learning.own_replies import OPENING_TOKENS, own_replies
from tests.actors.turns import grant_of, reply, revision, turn_of
from tests.runtime.trainer.trained_population import ADA, BASE, Trained, torch_sampler

pytestmark = pytest.mark.engine

OPTIONS = TrainingOptions(rank=4, learning_rate=1e-2, anchor=0.0)


@pytest.fixture(scope="module")
def sampler(small_base_f32: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[EngineSampler]:
    with torch_sampler(small_base_f32, tmp_path_factory.mktemp("sampled")) as started:
        yield started


@pytest.fixture
async def corrected(population: Trained) -> Trained:
    await population.host.create_model(ADA)
    await correct(population, 0, "Bruno.")
    return population


async def correct(population: Trained, number: int, correction: str) -> None:
    grant = await grant_of(population.host, turn_of(ADA, f"op-{number}"))
    await population.host.finish_turn(grant, reply("Who knows?", asked=f"Who is dog {number}?"))
    await population.host.give_feedback(ADA, number, Opinion(correction=correction))
    population.clock.advance(1)


async def test_one_correction_is_enough_to_learn_and_to_judge_by(corrected: Trained) -> None:
    await corrected.ask(ADA, OPTIONS)

    await corrected.training_loop().round()

    job = await corrected.job(ADA)
    assert job.state == "promoted", job.reason
    assert job.progress.step < job.progress.steps
    [made] = await corrected.host.list_revisions(ADA)
    assert made.lineage is not None
    assert (made.lineage.scores["corrections"], made.lineage.scores["corrections_said"]) == (1.0, 1.0)
    assert 0.5 <= made.lineage.scores["share_kept"] <= 1.0


async def test_what_learned_corrections_is_made_again_to_the_bit(corrected: Trained) -> None:
    await corrected.ask(ADA, OPTIONS)
    await corrected.training_loop().round()
    first = await corrected.job(ADA)

    await corrected.ask(ADA, TrainingOptions(rebuilds=first.candidate))
    await corrected.training_loop().round()

    again = await corrected.job(ADA)
    assert (again.state, again.candidate) == ("promoted", first.candidate), again.reason
    assert again.progress.step == first.progress.step


async def test_the_next_training_has_the_earlier_corrections_too(corrected: Trained) -> None:
    await corrected.ask(ADA, OPTIONS)
    await corrected.training_loop().round()
    first = (await corrected.job(ADA)).candidate
    await correct(corrected, 1, "Nobody at all.")
    await corrected.ask(ADA, OPTIONS)

    await corrected.training_loop().round()

    job = await corrected.job(ADA)
    assert job.parent == first
    by_digest = {one.digest: one for one in await corrected.host.list_revisions(ADA)}
    lineage = by_digest[job.candidate or ""].lineage
    assert lineage is not None
    assert lineage.scores["corrections"] == 2.0


async def test_what_was_liked_beside_corrections_that_are_said_already_needs_its_own_judges(
    corrected: Trained,
) -> None:
    await corrected.ask(ADA, OPTIONS)
    await corrected.training_loop().round()
    first = await corrected.job(ADA)
    assert first.progress.plan == "learns 1 correction; judged by 1 correction"
    await corrected.talk(ADA, 1, 8)
    for number in range(1, 8):
        await corrected.host.give_feedback(ADA, number, Opinion(thumb=True))
    corrected.clock.advance(1)
    await corrected.ask(ADA, OPTIONS)

    await corrected.training_loop().round()

    job = await corrected.job(ADA)
    assert (job.state, job.progress.step) == ("skipped", 0), job.reason
    assert "too few to judge what comes of it" in job.reason
    assert job.progress.plan == "learns 1 correction and 7 liked replies; judged by nothing"


async def test_what_is_said_already_is_skipped(corrected: Trained) -> None:
    await corrected.ask(ADA, OPTIONS)
    await corrected.training_loop().round()
    await corrected.host.give_feedback(ADA, 0, Opinion(correction="Bruno."))
    await corrected.ask(ADA, OPTIONS)

    await corrected.training_loop().round()

    job = await corrected.job(ADA)
    assert (job.state, "says all 1 corrections" in job.reason) == ("skipped", True), job.reason


async def test_steps_that_are_asked_for_are_taken_as_before(corrected: Trained) -> None:
    await corrected.ask(ADA, TrainingOptions(rank=4, steps=2))

    await corrected.training_loop().round()

    job = await corrected.job(ADA)
    assert (job.state, "held out" in job.reason) == ("skipped", True), job.reason


def test_the_base_replies_to_the_kept_requests_as_it_does(
    small_base_f32: Path, sampler: EngineSampler
) -> None:
    tokenizer = BaseTokenizer(small_base_f32)

    made = own_replies(sampler, tokenizer, KEPT[:50], PERSONAL[:4])

    openings, whole = made.general

    assert (len(openings.anchors), len(whole.anchors)) == (50, 40)
    for request, anchor in zip(KEPT, whole.anchors, strict=False):
        asked = tokenizer.tokens_of((Message("user", request),)).ids
        assert list(anchor.ids[: len(asked)]) == list(asked)
        assert anchor.scored == tuple(range(len(asked), len(anchor.ids)))
    for begun, anchor in zip(openings.anchors, whole.anchors, strict=False):
        assert begun.ids == anchor.ids[: len(begun.ids)]
        assert len(begun.scored) == min(OPENING_TOKENS, len(anchor.scored))


def test_a_training_keeps_replies_to_questions_about_the_person_but_those_that_it_teaches(
    small_base_f32: Path, sampler: EngineSampler
) -> None:
    made = own_replies(sampler, BaseTokenizer(small_base_f32), KEPT[:2], PERSONAL[:4])

    kept = made.groups(["What's my hamster called?", "Where do I live?"])[-1].anchors

    assert list(made.personal) == list(PERSONAL[:4])
    assert kept == [made.personal[ask] for ask in PERSONAL[1:4]]
    assert all(len(anchor.scored) <= OPENING_TOKENS for anchor in kept)
    assert list(made.groups(PERSONAL[:4])) == list(made.general)


def test_whole_replies_are_compared_with_the_bases(
    small_base_f32: Path, base: FrozenBase, sampler: EngineSampler
) -> None:
    judge = GeneralJudge(base, BaseTokenizer(small_base_f32), sampler, JUDGED[:3])
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=4), "uniform", seed=1)

    same = judge.compare("ada", adapter.pack(BASE, base.dtype))

    assert (same.tokens, same.broken, same.leaked) == (same.tokens_base, same.broken_base, ())
    assert same.nats == pytest.approx(same.nats_base, abs=1e-5)
    said = sampler.answers(None, [(Message("user", JUDGED[0]),)], tokens_max=96)[0].reply
    for layer in adapter.layers.values():
        layer.b.data.normal_(std=0.3, generator=torch.Generator().manual_seed(3))
    other = judge.compare("ada", adapter.pack(BASE, base.dtype), [said])
    assert other.nats > same.nats
    assert other.leaked == ()


def lower_part(base: FrozenBase, digest: str = "d" * 64) -> LowerPart:
    adapter = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=4), "uniform", seed=2)
    for layer in adapter.layers.values():
        layer.b.data.normal_(std=0.3, generator=torch.Generator().manual_seed(3))
    return LowerPart(digest, adapter, adapter.pack(BASE, base.dtype))


def test_on_a_lower_revision_whole_replies_are_compared_with_its_own_and_those_are_kept(
    small_base_f32: Path, base: FrozenBase, sampler: EngineSampler
) -> None:
    tokenizer = BaseTokenizer(small_base_f32)
    judge, lower = GeneralJudge(base, tokenizer, sampler, JUDGED[:3]), lower_part(base)
    new = TrainableAdapter.begin(base.model, base.modules, LoraShape(rank=2), "uniform", seed=1)
    part = new.on(lower.adapter, lower.digest).pack(BASE, base.dtype)

    same = judge.compare("ada", part, lower=lower)
    beside_base = judge.compare("ada", part)

    assert (same.tokens, same.broken, same.beside) == (same.tokens_base, same.broken_base, "lower revision")
    assert same.nats == pytest.approx(same.nats_base, abs=1e-5)
    assert beside_base.nats > beside_base.nats_base + 0.1
    whole, _ = own_replies(sampler, tokenizer, KEPT[:2], packed=lower.packed).general
    [asked, *_] = sampler.answers(lower.packed, [(Message("user", KEPT[0]),)], tokens_max=OPENING_TOKENS)
    prompt = tokenizer.tokens_of((Message("user", KEPT[0]),)).ids
    begun = whole.anchors[0].ids[len(prompt) :]
    assert list(begun[: len(asked.reply_ids)]) == list(asked.reply_ids)[: len(begun)]


# A minute of training; a correction that is taught on the base is in end_to_end/test_story.py.
@pytest.mark.release("learning")
async def test_corrections_are_taught_on_a_lower_revision_and_keep_its_replies(
    base: FrozenBase, sampler: EngineSampler, corrected: Trained
) -> None:
    population, lower = corrected, lower_part(base)
    population.sampler = sampler
    digest, _ = population.store.revisions.add(lower.packed)
    below = replace(revision("below", 4), digest=digest, base=BASE)
    await population.host.publish_revision(ADA, below, "below")
    await population.ask(ADA, replace(OPTIONS, on="below", anchor=0.01))

    await population.training_loop().round()

    job = await population.job(ADA)
    assert job.state == "promoted", job.reason
    [made] = [one for one in await population.host.list_revisions(ADA) if one.digest == job.candidate]
    assert made.lineage is not None
    assert made.lineage.on == digest
    assert made.lineage.scores["corrections_said"] == 1.0
    assert made.lineage.scores["personal_share"] == 1.0, "nothing is held out that could say less"
    assert 0.5 <= made.lineage.scores["share_kept"] <= 1.0


def test_the_requests_that_judge_are_not_those_that_are_kept() -> None:
    assert not {*KEPT, *PERSONAL} & set(JUDGED)
    assert len({*KEPT, *PERSONAL}) == len(KEPT) + len(PERSONAL)
    measured = (Path(__file__).parents[2] / "held_out" / "never_told.jsonl").read_text().splitlines()
    assert not {json.loads(line)["ask"] for line in measured} & set(PERSONAL)
