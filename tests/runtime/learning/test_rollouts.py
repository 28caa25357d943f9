"""Rollouts are what the engine drew, with what it thought of it, and of no other revision."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import torch

from populace.actors.engine import AdapterRef, Message
from populace.actors.errors import AdapterInvalid
from populace.adapters.lora.trainable import TrainableAdapter
from populace.adapters.random_adapter import write_random_adapter
from populace.engines.options import EngineOptions
from populace.engines.prompts import BaseTokenizer
from populace.engines.torch_engine import TorchEngine
from populace.learning.frozen_base import FrozenBase
from populace.learning.methods.context_distillation import distillation_sequence
from populace.learning.packed_row import Reading
from populace.learning.rollouts import Rollout, answers, of_revision, roll_out, seed_of
from populace.storage.revisions import adapter_digest

pytestmark = pytest.mark.engine

FINGERPRINT = "f" * 64
PROMPTS = [(Message("user", "Who?"),), (Message("user", "And where?"),)]


@pytest.fixture
async def engine(small_base_f32: Path) -> AsyncGenerator[TorchEngine]:
    options = EngineOptions(small_base_f32, FINGERPRINT, context_tokens=256, dtype="float32", threads=1)
    started = await TorchEngine.start(options)
    yield started
    await started.close()


@pytest.fixture
def adapter(small_base_f32: Path, tmp_path: Path) -> AdapterRef:
    path = write_random_adapter(tmp_path / "adapter", small_base_f32, seed=1, rank=4, scale=0.3)
    return AdapterRef(adapter_digest(path)[0], str(path))


async def rolled(engine: TorchEngine, adapter: AdapterRef | None, seed: int = 3) -> list[list[Rollout]]:
    return await roll_out(engine, PROMPTS, adapter, replies=3, tokens_max=6, seed=seed)


async def test_every_prompt_is_answered_so_often_and_each_time_anew(engine: TorchEngine) -> None:
    groups = await rolled(engine, None)

    assert [len(group) for group in groups] == [3, 3]
    assert [group[0].prompt for group in groups] == PROMPTS
    every = [one for group in groups for one in group]
    assert len({one.reply_ids for one in every}) == len(every)
    assert len({one.seed for one in every}) == len(every)
    assert all(len(one.reply_ids) == len(one.log_probs) == 6 or one.finished for one in every)


async def test_the_same_seed_gives_the_same_rollouts_and_another_gives_others(engine: TorchEngine) -> None:
    first, again, other = [await rolled(engine, None, seed) for seed in (3, 3, 4)]

    assert [[one.reply_ids for one in group] for group in first] == [
        [one.reply_ids for one in group] for group in again
    ]
    assert first[0][0].reply_ids != other[0][0].reply_ids
    assert seed_of(3, 0, 1) != seed_of(3, 1, 0)


@pytest.mark.parametrize("adapted", [False, True])
async def test_the_samplers_logarithms_are_the_trainers(
    engine: TorchEngine, adapter: AdapterRef, small_base_f32: Path, adapted: bool
) -> None:
    groups = await rolled(engine, adapter if adapted else None)

    base, tokenizer = (
        FrozenBase(small_base_f32, FINGERPRINT, dtype=torch.float32),
        BaseTokenizer(small_base_f32),
    )
    learned = TrainableAdapter.of_revision(Path(adapter.path), base.modules, rank_max=8) if adapted else None
    for rollout in (one for group in groups for one in group):
        asked = tokenizer.tokens_of(rollout.prompt).ids
        with torch.no_grad():
            scored = base.score([Reading(learned, [distillation_sequence(asked, rollout.reply_ids)])])[0]
        assert list(map(float, scored.target_log_probs)) == pytest.approx(list(rollout.log_probs), abs=1e-3)
        assert rollout.revision == (adapter.digest if adapted else "base")


async def test_an_answer_is_the_likeliest_reply_and_the_same_each_time(engine: TorchEngine) -> None:
    first, again = [await answers(engine, PROMPTS, None, tokens_max=6) for _ in range(2)]

    assert [one.prompt for one in first] == PROMPTS
    assert [one.reply_ids for one in first] == [one.reply_ids for one in again]


async def test_fewer_streams_than_replies_give_the_same_rollouts(engine: TorchEngine) -> None:
    all_at_once = await rolled(engine, None)

    in_turn = await roll_out(engine, PROMPTS, None, replies=3, tokens_max=6, seed=3, streams=2)

    assert [[one.reply_ids for one in group] for group in in_turn] == [
        [one.reply_ids for one in group] for group in all_at_once
    ]


async def test_a_rollout_of_another_revision_is_taken_out_and_counted(
    engine: TorchEngine, adapter: AdapterRef
) -> None:
    [mine, _], [others, _] = await rolled(engine, adapter), await rolled(engine, None)

    usable = of_revision([*mine, *others], adapter.digest)

    assert usable.rollouts == mine
    assert usable.masked == len(others)


async def test_an_adapter_that_cannot_be_used_fails_the_rollouts_by_name(
    engine: TorchEngine, tmp_path: Path
) -> None:
    missing = AdapterRef("0" * 64, str(tmp_path / "missing"))

    with pytest.raises(AdapterInvalid):
        await rolled(engine, missing)
