"""A job that has more to teach than fits takes a larger rank, or leaves the rest to retrieval."""

from dataclasses import replace
from pathlib import Path

import pytest

from populace.actors.feedback import Opinion
from populace.actors.hosts import Revision
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.engines.prompts import BaseTokenizer
from populace.policies.corrections import Corrected
from populace.trainer.room import held_tokens, room_of
from tests.runtime.trainer.trained_population import ADA, EVERYTHING, OPTIONS, Trained

pytestmark = pytest.mark.engine

UNTIL_SAID = TrainingOptions(learning_rate=1e-2, anchor=0.0)
TURNS = 8
WANTED = "Bruno."


@pytest.fixture
def narrow(population: Trained, small_base_f32: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Just the corrections of the turns fit at rank 16, so that half of them fit at rank 8."""
    job = TrainingJob(ADA, 0, TrainingOptions(rank=16), "running", "", 0)
    room = room_of(job, population.runs().base.modules, None)
    tokens = TURNS * held_tokens(BaseTokenizer(small_base_f32), Corrected(0, "Who is dog 0?", WANTED))
    each = (tokens + 0.5) / room.parameters
    monkeypatch.setattr("populace.policies.capacity.TOKENS_MIN", 1)
    monkeypatch.setattr("populace.policies.capacity.TOKENS_PER_PARAMETER", {"all": each})
    return population


async def trained(population: Trained, options: TrainingOptions = UNTIL_SAID) -> tuple[TrainingJob, Revision]:
    await population.ask(ADA, options)
    await population.training_loop().round()
    job = await population.job(ADA)
    found = {one.digest: one for one in await population.host.list_revisions(ADA)}
    assert job.candidate is not None, job.reason
    return job, found[job.candidate]


def scores_of(made: Revision) -> dict[str, float]:
    assert made.lineage is not None
    return made.lineage.scores


async def test_a_larger_rank_is_taken_if_all_fits_into_it(narrow: Trained) -> None:
    await narrow.teach(ADA, Opinion(correction=WANTED), TURNS)

    job, made = await trained(narrow)

    assert made.rank == 16
    assert job.progress.plan.startswith(f"learns {TURNS} corrections, at rank 16 instead of 8; judged by")
    scores = scores_of(made)
    assert (scores["corrections"], scores["left_to_retrieval"]) == (TURNS, 0.0)
    assert scores["taught_tokens"] == scores["fitting_tokens"]


async def test_at_the_rank_that_was_asked_for_the_oldest_are_left_to_retrieval(narrow: Trained) -> None:
    await narrow.teach(ADA, Opinion(correction=WANTED), TURNS)

    job, made = await trained(narrow, replace(UNTIL_SAID, rank=8))

    assert made.rank == 8
    half = TURNS // 2
    assert job.progress.plan.startswith(f"learns {half} corrections, and leaves {half} to retrieval; judged")
    scores = scores_of(made)
    assert (scores["corrections"], scores["left_to_retrieval"]) == (half, half)
    assert scores["taught_tokens"] <= scores["fitting_tokens"]


async def test_what_goes_on_from_a_smaller_adapter_begins_anew_and_is_judged_beside_it(
    narrow: Trained,
) -> None:
    await narrow.teach(ADA, Opinion(correction=WANTED), TURNS // 2)
    first, small = await trained(narrow)
    assert (small.rank, first.state) == (8, "promoted"), first.reason
    await narrow.talk(ADA, TURNS // 2, TURNS)
    for number in range(TURNS):
        # A base of random weights cannot tell questions apart.
        await narrow.host.give_feedback(ADA, number, Opinion(correction="Luna."))
    narrow.clock.advance(1)

    job, made = await trained(narrow)

    assert job.state == "promoted", job.reason
    assert (made.rank, made.parent) == (16, small.digest)
    assert job.parent == small.digest
    assert made.lineage is not None
    assert made.lineage.hyper_parameters["from_base"] is True
    await narrow.ask(ADA, TrainingOptions(rebuilds=made.digest))
    await narrow.training_loop().round()
    again = await narrow.job(ADA)
    assert (again.candidate, again.state) == (made.digest, "promoted"), again.reason


async def test_what_is_said_already_needs_no_larger_adapter(narrow: Trained) -> None:
    await narrow.teach(ADA, Opinion(correction=WANTED), TURNS // 2)
    await trained(narrow)
    await narrow.talk(ADA, TURNS // 2, TURNS)
    for number in range(TURNS // 2, TURNS):
        await narrow.host.give_feedback(ADA, number, Opinion(correction=WANTED))
    narrow.clock.advance(1)
    await narrow.ask(ADA, UNTIL_SAID)

    await narrow.training_loop().round()

    job = await narrow.job(ADA)
    assert (job.state, "says all" in job.reason) == ("skipped", True), job.reason


async def test_what_learned_from_more_than_its_log_is_trained_on_at_its_rank(narrow: Trained) -> None:
    narrow.gate = EVERYTHING
    await narrow.teach(ADA, Opinion(correction=WANTED), 3 * TURNS)
    first, small = await trained(narrow, replace(OPTIONS, method="preference", rank=8))
    assert first.state == "promoted", first.reason

    _, made = await trained(narrow)

    assert "corrections" not in scores_of(small)
    assert (made.rank, made.parent) == (8, small.digest)
    assert scores_of(made)["left_to_retrieval"] == 3 * TURNS - TURNS // 2
