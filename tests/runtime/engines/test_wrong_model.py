"""Not one token from other weights: every reply is checked against its adapter's fingerprint.

64 adapters take turns in 8 slots and in room for a third of their images, while requests are given up in
the middle and images are erased. What an adapter says first, with its probabilities, tells it from others.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import pytest
import pytest_asyncio

from populace.actors.engine import AdapterRef, Delta, GenerateRequest, Sampling
from populace.adapters.random_adapter import write_random_adapter
from populace.engines.vllm_engine import VllmEngine
from populace.storage.revisions import adapter_digest
from populace.storage.warm_files import erase, warm_root
from tests.small_base import make_small_base

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]

ADAPTERS = 64
SLOTS = 8
CLIENTS = 24
REQUESTS = 3000
RANKS = (1, 2, 4, 8, 16)
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
WARM_BYTES_MAX = 800_000
PROMPT = tuple(100 + 137 * place % 20_000 for place in range(140))
"""Longer than a block of the cache of keys and values, which must be nobody else's either."""
LEAST = -20.0
"""The log probability of a token that is not among the likeliest."""

Fingerprint = dict[int, float]


@pytest.fixture(scope="module")
def small_base(base_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_small_base(tmp_path_factory.mktemp("small-base"), base_directory)


@pytest.fixture(scope="module")
def people(small_base: Path, tmp_path_factory: pytest.TempPathFactory) -> list[AdapterRef | None]:
    """The base, and the adapters."""
    root = tmp_path_factory.mktemp("people")
    paths = [
        write_random_adapter(
            root / str(seed), small_base, seed=seed, rank=RANKS[seed % 5], targets=TARGETS, scale=1.0
        )
        for seed in range(ADAPTERS)
    ]
    return [None, *(AdapterRef(adapter_digest(path)[0], str(path)) for path in paths)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def engine(small_base: Path) -> AsyncGenerator[VllmEngine]:
    started = await VllmEngine.start(
        small_base,
        "f" * 64,
        context_tokens=256,
        adapter_slots=SLOTS,
        warm_bytes_max=WARM_BYTES_MAX,
    )
    yield started
    await started.close()


async def reply(
    engine: VllmEngine, adapter: AdapterRef | None, name: str, *, tokens: int = 2, given_up_after: int = 99
) -> list[Delta]:
    sampling = Sampling(max_tokens=tokens, temperature=0.0, logprobs=20, ignore_eos=True)
    deltas: list[Delta] = []
    async with aclosing(engine.generate(GenerateRequest(name, PROMPT, sampling, adapter))) as generated:
        async for delta in generated:
            deltas.append(delta)
            if len(deltas) == given_up_after:
                break
    return deltas


def fingerprint(deltas: list[Delta]) -> Fingerprint:
    first = next(row for delta in deltas for row in delta.logprobs)
    return {token: logprob for token, _, logprob in first.top} | {first.token_id: first.logprob}


def distance(one: Fingerprint, other: Fingerprint) -> float:
    return sum(abs(one.get(token, LEAST) - other.get(token, LEAST)) for token in one.keys() | other.keys())


async def test_no_token_comes_from_another_adapter_while_adapters_come_and_go(
    engine: VllmEngine, people: list[AdapterRef | None]
) -> None:
    known = [fingerprint(await reply(engine, one, f"alone-{n}")) for n, one in enumerate(people)]
    for number, one in enumerate(known):
        nearest = min(distance(one, other) for place, other in enumerate(known) if place != number)
        assert nearest > 10, "two adapters cannot be told apart"
    draw = random.Random(1)
    wanted = iter(range(REQUESTS))
    outcomes: Counter[str] = Counter()

    async def client() -> None:
        for number in wanted:
            person = draw.choice([0, *range(1, 9), *range(len(people))])
            adapter = people[person]
            gives_up = draw.random() < 0.1
            if adapter is not None and draw.random() < 0.02:
                erase(warm_root(), adapter.digest)
                outcomes["erased"] += 1
            deltas = await reply(
                engine,
                adapter,
                str(number),
                tokens=8 if gives_up else 2,
                given_up_after=1 if gives_up else 99,
            )
            found = fingerprint(deltas)
            nearest = min(range(len(known)), key=lambda one: distance(found, known[one]))
            outcomes["own" if nearest == person else "another's"] += 1
            outcomes["given up"] += gives_up

    await asyncio.gather(*(client() for _ in range(CLIENTS)))

    assert outcomes["another's"] == 0
    assert outcomes["own"] == REQUESTS
    assert outcomes["given up"] > 100
    assert outcomes["erased"] > 20
    statistics = engine.statistics()
    assert statistics.running == statistics.adapters_hot == 0
    assert statistics.warm is not None
    assert statistics.warm.evictions > 100
    assert statistics.warm.bytes <= WARM_BYTES_MAX
    engine.check_integrity()
