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
from populace.actors.personal_model import BASE_REVISION


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
) -> list[list[Rollout]]:
    """Have the engine answer each prompt so many times, at temperature 1, each time with a seed of its own.

    A temperature of 1 and no limits: the sampler's logarithms are those of what it draws from. The seeds
    follow from ``seed``, so that the same engine gives the same rollouts. Raises what ``Engine.generate``
    raises; what was running then is cancelled.
    """
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [
                [
                    group.create_task(
                        _one(engine, prompt, adapter, tokens_max, seed_of(seed, number, at), owner)
                    )
                    for at in range(replies)
                ]
                for number, prompt in enumerate(prompts)
            ]
    except ExceptionGroup as errors:  # one says it for all
        raise errors.exceptions[0] from errors
    return [[task.result() for task in of_prompt] for of_prompt in tasks]


def of_revision(rollouts: Sequence[Rollout], revision: str) -> Usable:
    """Keep the rollouts of this revision, a digest or ``base``."""
    kept = [one for one in rollouts if one.revision == revision]
    return Usable(kept, len(rollouts) - len(kept))


def seed_of(seed: int, prompt: int, reply: int) -> int:
    """The seed of one reply: one seed for all would make them all the same."""
    digest = blake2b(b"%d %d %d" % (seed, prompt, reply), digest_size=4).digest()
    return int.from_bytes(digest, "big") >> 1


async def _one(
    engine: Engine,
    prompt: tuple[Message, ...],
    adapter: AdapterRef | None,
    tokens_max: int,
    seed: int,
    owner: str,
) -> Rollout:
    revision = BASE_REVISION if adapter is None else adapter.digest
    sampling = Sampling(max_tokens=tokens_max, temperature=1.0, seed=seed, logprobs=0)
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
        seed,
        whole.finish_reason == "stop",
    )
