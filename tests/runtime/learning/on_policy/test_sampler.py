"""A revision goes to the engine, rollouts of it come back, and nothing of it stays."""

import asyncio
from pathlib import Path

import pytest

from populace.actors.engine import Message
from populace.actors.errors import AdapterMismatch, EngineUnavailable
from populace.engines.options import EngineOptions
from populace.engines.torch_engine import TorchEngine
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.sampler import EngineSampler, engine_sampler
from populace.learning.rollouts import Rollout
from populace.storage.packed.adapter import PackedAdapter
from populace.storage.revisions import RevisionFiles
from tests.runtime.learning.on_policy.learners import session

pytestmark = pytest.mark.engine

PROMPTS = [(Message("user", "Who?"),), (Message("user", "And where?"),)]


def packed_of(base: FrozenBase) -> bytearray:
    learner = session(base)
    for layer in learner.adapter.layers.values():
        layer.b.data.normal_(std=0.1)
    return learner.adapter.pack(base.fingerprint, base.dtype)


def sampled(sampler: EngineSampler, packed: bytearray, seed: int = 1) -> list[list[Rollout]]:
    return sampler.sample(packed, PROMPTS, replies=2, tokens_max=4, seed=seed)


def said(groups: list[list[Rollout]]) -> list[tuple[int, ...]]:
    return [one.reply_ids for group in groups for one in group]


def test_what_is_sampled_is_of_the_revision_that_was_sent(base: FrozenBase, sampler: EngineSampler) -> None:
    packed = packed_of(base)

    groups = sampled(sampler, packed)

    assert [group[0].prompt for group in groups] == PROMPTS
    digest = PackedAdapter(memoryview(packed)).digest
    assert {one.revision for group in groups for one in group} == {digest}
    again, other = sampled(sampler, packed), sampled(sampler, packed, seed=2)
    assert said(again) == said(groups)
    assert said(other) != said(groups)


def test_nothing_of_a_sampled_revision_stays_on_the_disk_or_in_the_engine(
    base: FrozenBase, sampler: EngineSampler, revisions: RevisionFiles, engines: list[TorchEngine]
) -> None:
    sampled(sampler, packed_of(base))

    assert [path.name for path in revisions.root.iterdir()] == [".lock"]
    assert engines[0].held().hot == ()
    engines[0].check_integrity()


def test_a_published_revision_is_sampled_from_as_it_lies_and_stays(
    base: FrozenBase, sampler: EngineSampler, revisions: RevisionFiles, engines: list[TorchEngine]
) -> None:
    packed = packed_of(base)
    digest, _ = revisions.add(packed)

    groups = sampled(sampler, packed)

    assert groups[0][0].revision == digest
    revisions.verify(digest)
    assert engines[0].held().hot == (digest,)
    revisions.remove(digest)
    sampled(sampler, packed)
    assert engines[0].held().hot == ()


def test_an_adapter_that_cannot_be_served_leaves_nothing_either(
    base: FrozenBase, sampler: EngineSampler, revisions: RevisionFiles
) -> None:
    other = session(base).adapter.pack("0" * 64, base.dtype)

    with pytest.raises(AdapterMismatch):
        sampled(sampler, other)

    assert [path.name for path in revisions.root.iterdir()] == [".lock"]


def test_an_engine_that_does_not_start_or_is_closed_is_an_error_by_name(
    base: FrozenBase, tmp_path: Path, decided_base: Path
) -> None:
    async def refuse() -> TorchEngine:
        raise EngineUnavailable("it has no room")

    with pytest.raises(EngineUnavailable, match="no room"), engine_sampler(refuse, RevisionFiles(tmp_path)):
        raise AssertionError("it did not start")

    engines: list[TorchEngine] = []

    async def start() -> TorchEngine:
        options = EngineOptions(decided_base, base.fingerprint, context_tokens=64, threads=1)
        engines.append(await TorchEngine.start(options))
        return engines[0]

    with engine_sampler(start, RevisionFiles(tmp_path)) as sampler:
        closing = asyncio.run_coroutine_threadsafe(engines[0].close(), sampler.loop)
        closing.result()
        with pytest.raises(EngineUnavailable):
            sampled(sampler, packed_of(base))
