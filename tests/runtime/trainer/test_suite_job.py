"""A training never takes away an answer that a person's own suite wants, with a real engine that answers."""

import logging
from collections.abc import AsyncGenerator, Generator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from populace.actors.engine import Message
from populace.actors.suites import SAMPLING, suite_of
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import EngineSampler
from tests.runtime.trainer.trained_population import ADA, BASE, OPTIONS, Trained, torch_sampler

pytestmark = pytest.mark.engine

ASKED = "Who is dog 3?"
NOTHING = {"ask": ASKED, "expect": r"\s*", "check": "matches"}
"""This base, whose weights are random, says nothing but line breaks before it has learned something."""

NEVER = {"ask": "What is never said?", "expect": "This."}
LONG = {"ask": "私の犬の名前は何ですか。" * 150, "expect": "ブルーノ"}
"""It is too long for the context, and everybody's suite may have it."""

SOMETHING = {"ask": ASKED, "expect": r".*\S.*", "check": "matches"}


@pytest.fixture(scope="module")
def base(decided_base: Path) -> FrozenBase:
    return FrozenBase(decided_base, BASE, dtype=torch.float32)


@pytest.fixture(scope="module")
def sampler(decided_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Generator[EngineSampler]:
    with torch_sampler(decided_base, tmp_path_factory.mktemp("sampled"), sequences_max=32) as started:
        yield started


@pytest.fixture
async def population(
    tmp_path: Path, decided_base: Path, base: FrozenBase, sampler: EngineSampler
) -> AsyncGenerator[Trained]:
    made = Trained(tmp_path / "store", decided_base, base, sampler=sampler)
    yield made
    made.host.close()


async def test_a_candidate_that_forgets_an_answer_is_rejected_and_only_its_job_names_the_question(
    population: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    await population.teach(ADA)
    await population.host.suites.keep(ADA, suite_of([NOTHING, NEVER]))
    await population.ask(ADA, OPTIONS)

    with caplog.at_level(logging.INFO):
        await population.training_loop().round()

    job = await population.job(ADA)
    assert (job.state, job.reason) == ("rejected", f"it no longer answers “{ASKED}” as the suite wants")
    [made] = await population.host.list_revisions(ADA)
    assert made.lineage is not None
    assert made.lineage.objections == ("it no longer answers “…” as the suite wants",)
    scores = made.lineage.scores
    assert (scores["suite"], scores["suite_passed_parent"], scores["suite_passed"]) == (2, 1, 0)
    assert (await population.host.show_model(ADA)).aliases == {}
    assert ASKED not in caplog.text


async def test_what_the_parent_failed_objects_to_nothing(population: Trained) -> None:
    await population.teach(ADA)
    await population.host.suites.keep(ADA, suite_of([NEVER, SOMETHING]))
    await population.ask(ADA, OPTIONS)

    await population.training_loop().round()

    job = await population.job(ADA)
    assert job.state == "promoted", job.reason
    [made] = await population.host.list_revisions(ADA)
    assert made.lineage is not None
    scores = made.lineage.scores
    assert (scores["suite"], scores["suite_passed_parent"], scores["suite_passed"]) == (2, 0, 1)


async def test_a_question_that_is_too_long_to_be_asked_judges_nothing(population: Trained) -> None:
    await population.teach(ADA)
    await population.host.suites.keep(ADA, suite_of([LONG, NEVER, SOMETHING]))
    await population.ask(ADA, OPTIONS)

    await population.training_loop().round()

    job = await population.job(ADA)
    assert job.state == "promoted", job.reason
    assert job.progress.plan.endswith("a suite of 2 questions"), job.progress.plan
    [made] = await population.host.list_revisions(ADA)
    assert made.lineage is not None
    scores = made.lineage.scores
    assert (scores["suite"], scores["suite_passed_parent"], scores["suite_passed"]) == (2, 0, 1)


async def test_a_suite_of_nothing_that_can_be_asked_judges_nothing(population: Trained) -> None:
    await population.teach(ADA)
    await population.host.suites.keep(ADA, suite_of([LONG]))
    await population.ask(ADA, OPTIONS)

    await population.training_loop().round()

    job = await population.job(ADA)
    assert (job.state, "suite" in job.progress.plan) == ("promoted", False), job.reason


async def test_a_training_from_the_base_is_held_against_what_is_served(
    population: Trained, base: FrozenBase, sampler: EngineSampler
) -> None:
    await population.teach(ADA)
    await population.ask(ADA, OPTIONS)
    await population.training_loop().round()
    served = (await population.host.show_model(ADA)).aliases["latest"]
    packed = population.runs().read(served).pack(BASE, base.dtype)
    assert SAMPLING.max_tokens is not None
    [learned] = sampler.answers(packed, [(Message("user", ASKED),)], tokens_max=SAMPLING.max_tokens)
    await population.host.suites.keep(
        ADA, suite_of([{"ask": ASKED, "expect": learned.reply, "check": "exact"}])
    )

    # Nearly nothing is learned, so that it replies as the base does; the base never passed.
    await population.ask(ADA, replace(OPTIONS, from_base=True, learning_rate=1e-6, steps=1))
    await population.training_loop().round()

    job = await population.job(ADA)
    assert job.state == "rejected"
    assert "it no longer answers" in job.reason
    assert (await population.host.show_model(ADA)).aliases["latest"] == served


async def test_without_an_engine_a_model_with_a_suite_gets_no_candidate(
    tmp_path: Path, decided_base: Path, base: FrozenBase
) -> None:
    population = Trained(tmp_path / "store", decided_base, base)
    await population.teach(ADA)
    await population.host.suites.keep(ADA, suite_of([{"ask": ASKED, "expect": "x"}]))
    await population.ask(ADA, OPTIONS)

    await population.training_loop().round()

    job = await population.job(ADA)
    assert (job.state, "its suite cannot be asked" in job.reason) == ("failed", True), job.reason
    population.host.close()
