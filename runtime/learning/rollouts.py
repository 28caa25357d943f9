"""Replies to learn from, as the serving engines make them: tokens, their logarithms, revision and seed.

What the sampler thought of its own tokens goes with them, since its numbers are not the trainer's. A rollout
of another revision than the one that learns is never used silently: ``of_revision`` takes it out and counts.
"""

import asyncio
import secrets
from collections.abc import Sequence
from contextlib import aclosing
from hashlib import blake2b
from typing import NamedTuple

from populace.actors.engine import AdapterRef, Engine, GenerateRequest, Message, Sampling, joined
from populace.actors.turn import BASE_REVISION

STREAMS = 32
"""An engine's queue is for people who wait for a reply; training does not fill it."""


class Rollout(NamedTuple):
    """A reply to ``prompt``. ``log_probs`` are natural logarithms of ``reply_ids``, by the sampler.

    The prompt's and the reply's tokens are as many as the engine counted. ``finished`` is false for a reply
    that was cut at the most tokens it might have.
    """

    prompt: tuple[Message, ...]
    reply: str
    reply_ids: tuple[int, ...]
    log_probs: tuple[float, ...]
    revision: str
    seed: int
    finished: bool


class Usable(NamedTuple):
    """The rollouts of the revision that was asked for, and how many of others there were."""

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
    owner: str = "",
    streams: int = STREAMS,
) -> list[list[Rollout]]:
    """Have the engine answer each prompt so many times, at temperature 1, each time with a seed of its own.

    A temperature of 1 and no limits: the sampler's logarithms are those of what it draws from. The seeds
    follow from ``seed``, so that the same engine gives the same rollouts. At most ``streams`` are asked for
    at once. Raises what ``Engine.generate`` raises; what was running then is cancelled.
    """
    asked = [
        (prompt, Sampling(tokens_max, temperature=1.0, seed=seed_of(seed, number, at), logprobs=0))
        for number, prompt in enumerate(prompts)
        for at in range(replies)
    ]
    rollouts = await _all(engine, asked, adapter, owner, streams)
    return [rollouts[first : first + replies] for first in range(0, len(rollouts), replies)]


async def answers(
    engine: Engine,
    prompts: Sequence[tuple[Message, ...]],
    adapter: AdapterRef | None,
    *,
    tokens_max: int,
    owner: str = "",
    streams: int = STREAMS,
) -> list[Rollout]:
    """Have the engine answer each prompt once, greedily; otherwise as ``roll_out``."""
    greedy = Sampling(tokens_max, temperature=0.0, seed=0, logprobs=0)
    return await _all(engine, [(prompt, greedy) for prompt in prompts], adapter, owner, streams)


def of_revision(rollouts: Sequence[Rollout], revision: str) -> Usable:
    """Keep the rollouts of this revision, a digest or ``base``."""
    kept = [one for one in rollouts if one.revision == revision]
    return Usable(kept, len(rollouts) - len(kept))


def seed_of(seed: int, prompt: int, reply: int) -> int:
    """The seed of one reply: one seed for all would make them all the same."""
    digest = blake2b(b"%d %d %d" % (seed, prompt, reply), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


async def _all(
    engine: Engine,
    asked: Sequence[tuple[tuple[Message, ...], Sampling]],
    adapter: AdapterRef | None,
    owner: str,
    streams: int,
) -> list[Rollout]:
    turn = asyncio.Semaphore(streams)

    async def in_turn(prompt: tuple[Message, ...], sampling: Sampling) -> Rollout:
        async with turn:
            return await _one(engine, prompt, adapter, sampling, owner)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(in_turn(*one)) for one in asked]
    except ExceptionGroup as errors:  # one says it for all
        raise errors.exceptions[0] from errors
    return [task.result() for task in tasks]


async def _one(
    engine: Engine,
    prompt: tuple[Message, ...],
    adapter: AdapterRef | None,
    sampling: Sampling,
    owner: str,
) -> Rollout:
    revision = BASE_REVISION if adapter is None else adapter.digest
    assert sampling.seed is not None
    request = GenerateRequest(
        f"rollout-{secrets.token_hex(8)}",
        prompt,
        sampling,
        adapter=adapter,
        stream=False,
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
