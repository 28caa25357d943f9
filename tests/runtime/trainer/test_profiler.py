"""Members are profiled once for each revision, by what they would answer with."""

from pathlib import Path

import numpy as np
import pytest

from populace.actors.members import Profile
from populace.actors.turn import ModelId
from populace.learning.frozen_base import FrozenBase
from populace.learning.trainer import Trainer
from populace.policies.diversity.probes import DIGEST, LABELS, PROBES
from populace.trainer.loading import LoadedTrainer
from populace.trainer.profiler import Profiler
from populace.trainer.runs import RunBuilder
from tests.runtime.trainer.trained_population import ADA, BOB, GATE, OPTIONS, Trained

pytestmark = pytest.mark.engine


@pytest.fixture
def profiler(population: Trained, base: FrozenBase, small_base_f32: Path) -> Profiler:
    def load() -> LoadedTrainer:
        runs = RunBuilder(base, small_base_f32, population.store.revisions, rank_max=16)
        return LoadedTrainer(Trainer(base, runs.encoder, gate=GATE, rank_max=16), runs)

    return Profiler(population.host.members, load=load)


async def profile(population: Trained, model: ModelId) -> Profile:
    member = await population.host.members.of_model(model)
    assert member is not None
    assert member.profile is not None
    return member.profile


async def test_a_member_is_profiled_again_when_it_has_a_new_revision(
    population: Trained, profiler: Profiler
) -> None:
    await population.teach(ADA)
    await population.host.create_model(BOB)
    assert await profiler.round() == 0, "nobody takes part"
    await population.host.members.share(ADA, "votes")
    await population.host.members.share(BOB, "votes")

    assert await profiler.round() == 2
    assert await profiler.round() == 0
    before = await profile(population, ADA)
    assert before == await profile(population, BOB), "both are the base"

    await population.ask(ADA, OPTIONS)
    await population.training_loop().round()
    assert await profiler.round() == 1
    after = await profile(population, ADA)

    assert (before.revision, before.probes) == ("base", DIGEST)
    assert after.revision == (await population.host.show_model(ADA)).aliases["latest"]
    assert after.table.shape == (len(PROBES), 3)
    assert np.exp(after.table).sum(1) == pytest.approx(np.ones(len(PROBES)), abs=2e-3)
    assert after.accuracy == pytest.approx((after.table.argmax(1) == LABELS).mean())
    assert not np.allclose(after.table, before.table, atol=1e-2), "it learned something"


async def test_who_cannot_be_read_is_left_out_and_not_tried_again_and_again(
    population: Trained, profiler: Profiler
) -> None:
    await population.teach(ADA)
    await population.ask(ADA, OPTIONS)
    await population.training_loop().round()
    await population.host.members.share(ADA, "votes")
    digest = (await population.host.show_model(ADA)).aliases["latest"]
    population.store.revisions.path(digest).write_bytes(b"torn")

    assert await profiler.round() == 0
    assert await profiler.round() == 0
    member = await population.host.members.of_model(ADA)
    assert member is not None
    assert not member.is_profiled
