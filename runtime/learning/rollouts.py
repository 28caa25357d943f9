"""Rollouts: replies that a serving engine samples for training, with log-probabilities, revision and seed.

The sampler's log-probabilities are kept, since the trainer's differ by rounding. A rollout of another
revision than the one in training is not used: ``of_revision`` drops and counts it.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import aclosing
from hashlib import blake2b
from typing import NamedTuple

from populace.actors.engine import (
    AdapterRef,
    Engine,
    GenerateRequest,
    MemoryUse,
    Message,
    Sampling,
    joined,
)
from populace.actors.owner import IN_BACKGROUND, Owner
from populace.actors.turn import BASE_REVISION

STREAMS = 32
"""At most this many rollouts run at once, so that training does not fill the queue of a serving engine."""


class Rollout(NamedTuple):
    """A sampled reply to ``prompt``.

    ``log_probs`` are the sampler's log-probabilities of ``reply_ids``, in nats. ``finished`` is false if the
    reply was cut at its token limit. ``reward`` is what a method gave it.
    """

    prompt: tuple[Message, ...]
    reply: str
    reply_ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    revision: str
    seed: int
    finished: bool
    reward: float | None = None


class UsableRollouts(NamedTuple):
    """The rollouts of the wanted revision, and the number of ``masked`` ones of other revisions."""

    rollouts: list[Rollout]
    masked: int


async def roll_out(
    engine: Engine,
    prompts: Sequence[tuple[Message, ...]],
    adapter: AdapterRef | None,
    *,
    replies: int,
    tokens_max: int,
    seed: int,
    owner: Owner = IN_BACKGROUND,
    streams: int = STREAMS,
) -> list[list[Rollout]]:
    """Sample ``replies`` replies to each prompt and return them by prompt. ``adapter`` None is the base.

    The temperature is 1 without top-k or top-p, so that the reported log-probabilities are those of the
    distribution that is sampled. Each reply has its own seed, derived from ``seed``: the same engine gives
    the same rollouts. At most ``streams`` requests run at once. Raises the first error of
    ``Engine.generate``; the other requests are cancelled.
    """
    asked = [
        (prompt, Sampling(tokens_max, temperature=1.0, seed=seed_of(seed, number, at), logprobs=0))
        for number, prompt in enumerate(prompts)
        for at in range(replies)
    ]
    rollouts = await _roll_out_all(engine, asked, adapter, owner, streams)
    return [rollouts[first : first + replies] for first in range(0, len(rollouts), replies)]


async def answers(
    engine: Engine,
    prompts: Sequence[tuple[Message, ...]],
    adapter: AdapterRef | None,
    *,
    tokens_max: int,
    memory: MemoryUse | None = None,
    owner: Owner = IN_BACKGROUND,
    streams: int = STREAMS,
) -> list[Rollout]:
    """Generate one greedy reply to each prompt; limits and errors are as for ``roll_out``.

    Each reads ``memory``, and is not to write it.
    """
    greedy = Sampling(tokens_max, temperature=0.0, seed=0, logprobs=0)
    asked = [(prompt, greedy) for prompt in prompts]
    return await _roll_out_all(engine, asked, adapter, owner, streams, memory)


def of_revision(rollouts: Sequence[Rollout], revision: str) -> UsableRollouts:
    """Keep the rollouts of ``revision``, a digest or ``base``, and count the others."""
    kept = [rollout for rollout in rollouts if rollout.revision == revision]
    return UsableRollouts(kept, len(rollouts) - len(kept))


def seed_of(seed: int, prompt: int, reply: int) -> int:
    """Derive the seed, 31 bits, of reply number ``reply`` to prompt number ``prompt``.

    With one seed for all, the replies to a prompt would be equal.
    """
    digest = blake2b(b"%d %d %d" % (seed, prompt, reply), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


async def _roll_out_all(
    engine: Engine,
    asked: Sequence[tuple[tuple[Message, ...], Sampling]],
    adapter: AdapterRef | None,
    owner: Owner,
    streams: int,
    memory: MemoryUse | None = None,
) -> list[Rollout]:
    slots = asyncio.Semaphore(streams)

    async def in_slot(prompt: tuple[Message, ...], sampling: Sampling) -> Rollout:
        async with slots:
            return await _roll_out(engine, prompt, adapter, sampling, owner, memory)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(in_slot(*request)) for request in asked]
    except ExceptionGroup as errors:  # callers catch the engine's errors, not groups
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


async def _roll_out(
    engine: Engine,
    prompt: tuple[Message, ...],
    adapter: AdapterRef | None,
    sampling: Sampling,
    owner: Owner,
    memory: MemoryUse | None,
) -> Rollout:
    revision = BASE_REVISION if adapter is None else adapter.digest
    assert sampling.seed is not None
    request = GenerateRequest(
        f"rollout-{secrets.token_hex(8)}",
        prompt,
        sampling,
        adapter=adapter,
        stream=False,
        memory=memory,
        owner=owner,
    )
    async with aclosing(engine.generate(request)) as generated:
        whole = joined([delta async for delta in generated])
    return Rollout(
        prompt,
        whole.text,
        whole.token_ids,
        tuple(row.logprob for row in whole.logprobs),
        revision,
        sampling.seed,
        whole.finish_reason == "stop",
    )
