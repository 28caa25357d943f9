"""Not one token from other weights or another state: every reply is checked against its fingerprint.

64 adapters take turns in 8 slots and in room for a third of their images, some of them with memory states,
while revisions are prepared, requests are given up in the middle and images are erased. What a model says
first, with its probabilities, tells it from others.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from populace.actors.engine import AdapterRef, Delta, GenerateRequest, MemoryUse, Sampling
from populace.actors.owner import NO_OWNER, Owner
from populace.adapters.random_adapter import write_random_adapter
from populace.engines.vllm_engine import VllmEngine
from populace.storage.revisions import adapter_digest
from populace.storage.warm_files import erase, warm_root
from tests.runtime.engines.bfloat16.conftest import WARM_BYTES_MAX

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="session")]

ADAPTERS = 64
CLIENTS = 24
RANKS = (1, 2, 4, 8, 16)
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PROMPT = tuple(100 + 137 * place % 20_000 for place in range(140))
"""Longer than a block of the cache of keys and values, which must be nobody else's either."""
LEAST = -20.0
"""The log probability of a token that is not among the likeliest."""

STATES = 3
"""Memory states, each of which some adapters and the base answer with."""

Fingerprint = dict[int, float]


class Voice(NamedTuple):
    """What a reply comes from."""

    adapter: AdapterRef | None
    state: bytes | None = None


@pytest.fixture(scope="module")
def people(base_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterRef | None]:
    """The base, and the adapters."""
    root = tmp_path_factory.mktemp("people")
    paths = [
        write_random_adapter(
            root / str(seed), base_directory, seed=seed, rank=RANKS[seed % 5], targets=TARGETS, scale=1.0
        )
        for seed in range(ADAPTERS)
    ]
    return [None, *(AdapterRef(adapter_digest(path)[0], str(path)) for path in paths)]


def request_of(
    voice: Voice, name: str, *, tokens: int = 2, prompt: tuple[int, ...] = PROMPT, owner: Owner = NO_OWNER
) -> GenerateRequest:
    sampling = Sampling(max_tokens=tokens, temperature=0.0, logprobs=20, ignore_eos=True)
    memory = None if voice.state is None else MemoryUse(voice.state, new_from=None)
    return GenerateRequest(name, prompt, sampling, voice.adapter, memory=memory, owner=owner)


async def reply(engine: VllmEngine, request: GenerateRequest, *, given_up_after: int = 99) -> list[Delta]:
    deltas: list[Delta] = []
    async with aclosing(engine.generate(request)) as generated:
        async for delta in generated:
            deltas.append(delta)
            if len(deltas) == given_up_after:
                break
    return deltas


async def state_after(engine: VllmEngine, seed: int) -> bytes:
    """A memory state that some text left."""
    draw = random.Random(seed)
    written = replace(
        request_of(
            Voice(None), f"state-{seed}", prompt=tuple(draw.randrange(100, 20_000) for _ in range(60))
        ),
        memory=MemoryUse(),
    )
    state = (await reply(engine, written))[-1].memory
    assert state is not None
    return state


def fingerprint(deltas: list[Delta]) -> Fingerprint:
    first = next(row for delta in deltas for row in delta.logprobs)
    return {token: logprob for token, _, logprob in first.top} | {first.token_id: first.logprob}


def distance(one: Fingerprint, other: Fingerprint) -> float:
    return sum(abs(one.get(token, LEAST) - other.get(token, LEAST)) for token in one.keys() | other.keys())


@pytest.mark.parametrize("requests", [500, pytest.param(5000, marks=pytest.mark.release("engines"))])
async def test_no_token_comes_from_another_adapter_while_adapters_come_and_go(
    engine: VllmEngine, people: list[AdapterRef | None], requests: int
) -> None:
    states = [await state_after(engine, seed) for seed in range(STATES)]
    voices = [Voice(one) for one in people]
    voices += [Voice(one, state) for one in people[:9] for state in states]
    known = [fingerprint(await reply(engine, request_of(one, f"alone-{n}"))) for n, one in enumerate(voices)]
    for number, one in enumerate(known):
        nearest = min(distance(one, other) for place, other in enumerate(known) if place != number)
        assert nearest > 10, f"voice {number} cannot be told apart"
    draw = random.Random(1)
    wanted = iter(range(requests))
    outcomes: Counter[str] = Counter()

    async def client() -> None:
        for number in wanted:
            person = draw.choice([0, *range(1, 9), *range(len(voices))])
            adapter = voices[person].adapter
            gives_up = draw.random() < 0.1
            if adapter is not None and draw.random() < 0.2:
                erase(warm_root(), adapter.digest)
                outcomes["erased"] += 1
            if draw.random() < 0.02:
                successor, predecessor = draw.sample([one for one in people if one is not None], 2)
                await engine.prepare(successor, predecessor)
                outcomes["prepared"] += 1
            request = request_of(voices[person], str(number), tokens=8 if gives_up else 2)
            found = fingerprint(await reply(engine, request, given_up_after=1 if gives_up else 99))
            nearest = min(range(len(known)), key=lambda one: distance(found, known[one]))
            outcomes["own" if nearest == person else "another's"] += 1
            outcomes["given up"] += gives_up
            outcomes["with a state"] += voices[person].state is not None

    await asyncio.gather(*(client() for _ in range(CLIENTS)))

    assert outcomes["another's"] == 0
    assert outcomes["own"] == requests
    assert outcomes["given up"] > requests / 30
    assert outcomes["erased"] > requests / 15
    assert outcomes["prepared"] > requests / 400
    assert outcomes["with a state"] > requests / 6
    statistics = engine.statistics()
    assert statistics.running == statistics.adapters_hot == 0
    assert statistics.warm is not None
    assert statistics.warm.evictions > requests / 30
    assert statistics.warm.bytes <= WARM_BYTES_MAX
    engine.check_integrity()


async def cached_tokens(engine: VllmEngine, request: GenerateRequest) -> int:
    """Send the request to vLLM; answers how many tokens of its prompt it did not have to compute."""

    def hits() -> int:
        work = engine.statistics().work
        assert work is not None
        assert work.cache is not None
        return work.cache.hit_tokens

    before = hits()
    await reply(engine, request)
    return hits() - before


async def test_what_is_cached_is_found_by_the_same_owner_weights_and_state_alone(
    engine: VllmEngine, people: list[AdapterRef | None]
) -> None:
    ada = Owner("acme", "ada")
    state, other_state = [await state_after(engine, seed) for seed in (10, 11)]
    for number, voice in enumerate([Voice(None), Voice(people[1]), Voice(people[1], state)]):
        prompt = tuple(200 + number + 101 * place % 20_000 for place in range(140))
        others = [
            (Voice(people[2], voice.state), ada),
            (Voice(voice.adapter, other_state), ada),
            (voice, Owner("acme", "bob")),
            (voice, Owner("globex", "ada")),
        ]

        async def cached(
            one: Voice, owner: Owner, times: Iterator[int], prompt: tuple[int, ...] = prompt
        ) -> int:
            return await cached_tokens(
                engine, request_of(one, f"cached-{next(times)}", prompt=prompt, owner=owner)
            )

        times = itertools.count(100 * number)
        assert await cached(voice, ada, times) == 0
        assert await cached(voice, ada, times) >= 128
        for other, owner in others:
            assert await cached(other, owner, times) == 0
            assert await cached(other, owner, times) >= 128
        assert await cached(voice, ada, times) >= 128
