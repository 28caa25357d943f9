# pyright: reportUnknownMemberType=false
# vLLM's classes are annotated in part only.
"""Embeds prompts in vLLM's engine, beside the replies that it makes.

A prompt that is embedded is a request for one token, which is not used. When it has ended, the workers have
its embedding.
"""

import asyncio
import secrets
from array import array
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, aclosing

from vllm.inputs.engine import tokens_input
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from populace.actors.engine import Embedding
from populace.actors.errors import EngineOverloaded, EngineUnavailable
from populace.actors.owner import Owner
from populace.engines.fair_turns import FairTurns
from populace.engines.slots import AdmissionGate, Ticket
from populace.engines.vllm_prompt_sums import ARGUMENT
from populace.engines.vllm_workers import call_workers

TOKENS_MAX = 512
"""Tokens that are embedded together while no reply is made; one longer prompt is read alone."""

TOKENS_BESIDE_MAX = 128
"""The same beside replies, whose next tokens wait for the step that reads these."""

PROMPTS_MAX = 32
"""Prompts that are embedded together, and never more than half of the engine's places."""

CALLERS_MAX = 256
"""Callers of one tenant that wait for their turn, each with up to thousands of prompts; more are refused."""


class VllmEmbedder:
    """Embeds the prompts of all callers in small groups, one group at a time and tenants in turn.

    ``place`` waits for a place in the batch, which ``gate`` gives, and turns the engine's errors into ours.
    """

    def __init__(
        self,
        llm: Callable[[], AsyncLLM],
        place: Callable[[Owner, int], AbstractAsyncContextManager[Ticket]],
        gate: AdmissionGate,
    ) -> None:
        self._llm = llm
        self._place = place
        self._gate = gate
        self._prompts_max = min(PROMPTS_MAX, max(1, gate.places // 2))
        self._turns = FairTurns()

    async def start(self) -> None:
        """Have the workers watch for prompts. Call it once."""
        await call_workers(self._llm, "watch_prompts")

    async def embed(self, prompts: Sequence[list[int]], owner: Owner) -> list[Embedding]:
        """Embed prompts that fit the context. Raises ``EngineOverloaded`` and ``EngineUnavailable``."""
        if self._turns.waiting(owner.tenant) == CALLERS_MAX:
            raise EngineOverloaded(f"{CALLERS_MAX} of your requests for embeddings wait.", limit=CALLERS_MAX)
        embeddings: list[Embedding] = []
        while len(embeddings) < len(prompts):
            async with self._turns.turn(owner.tenant, TOKENS_BESIDE_MAX):
                tokens_max = TOKENS_BESIDE_MAX if self._gate.statistics().running else TOKENS_MAX
                group = together(prompts, len(embeddings), self._prompts_max, tokens_max)
                embeddings += await self._embed_together(group, owner)
        return embeddings

    async def _embed_together(self, prompts: Sequence[list[int]], owner: Owner) -> list[Embedding]:
        keys = [secrets.token_hex(16) for _ in prompts]
        try:
            async with asyncio.TaskGroup() as reading:
                for key, ids in zip(keys, prompts, strict=True):
                    reading.create_task(self._read(key, ids, owner))
        except ExceptionGroup as errors:  # callers catch the engine's errors, not groups
            raise errors.exceptions[0] from errors
        # Every worker has all of it, but those before the last part of a pipeline, which have none.
        [*_, last] = await call_workers(self._llm, "take_embeddings", keys)
        return [_embedding(found, ids) for found, ids in zip(last, prompts, strict=True)]

    async def _read(self, key: str, ids: list[int], owner: Owner) -> None:
        parameters = SamplingParams(
            max_tokens=1,
            temperature=0.0,
            detokenize=False,
            output_kind=RequestOutputKind.FINAL_ONLY,
            # The hidden states of a cached block are gone.
            skip_reading_prefix_cache=True,
            extra_args={ARGUMENT: key},
        )
        async with self._place(owner, len(ids)):
            outputs = self._llm().generate(tokens_input(ids), parameters, key)
            async with aclosing(outputs) as ended:
                async for _ in ended:
                    pass


def together(
    prompts: Sequence[list[int]], first: int, count_max: int, tokens_max: int
) -> Sequence[list[int]]:
    """Return the prompt ``first`` and those after it, as long as they are within both limits."""
    last, tokens = first + 1, len(prompts[first])
    while last < min(len(prompts), first + count_max) and tokens + len(prompts[last]) <= tokens_max:
        tokens += len(prompts[last])
        last += 1
    return prompts[first:last]


def _embedding(found: bytes | None, ids: list[int]) -> Embedding:
    if found is None:
        raise EngineUnavailable("the embedding of a prompt was lost")
    return Embedding(tuple(array("f", found)), len(ids))
