# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""Unchanged vLLM without Populace's plugin, for comparison."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any, Self

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.inputs.engine import tokens_input
from vllm.lora.lora_model import LoRAModel
from vllm.lora.peft_helper import PEFTHelper
from vllm.lora.request import LoRARequest
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM

from populace.engines.vllm_environment import PLUGIN_VARIABLE, applied, cpu_environment, vllm_environment
from scripts.bench.engine_sides import EngineRequest, Side, Start


class StockVllm:
    """Unchanged vLLM, which reads PEFT directories and loads an adapter when a request first needs it."""

    def __init__(self, llm: Any, adapters: tuple[Path, ...]) -> None:
        self._llm = llm
        self._adapters = adapters
        self._count = 0

    @classmethod
    async def start(cls, side: Side, common: Start) -> Self:
        """Start vLLM without the plugin, with as many LoRA slots as the side has."""
        arguments = AsyncEngineArgs(
            model=str(common.base),
            max_model_len=common.context_tokens,
            max_num_seqs=16,
            enforce_eager=True,
            enable_lora=True,
            max_loras=side.slots,
            max_cpu_loras=max(side.slots, len(common.adapters)),
            max_lora_rank=common.rank_max,  # pyright: ignore[reportArgumentType] - a Literal there
            generation_config="vllm",
            disable_log_stats=True,
        )
        environment = vllm_environment() | cpu_environment(common.threads)
        del environment[PLUGIN_VARIABLE]
        with applied(environment):
            llm = await asyncio.to_thread(AsyncLLM.from_engine_args, arguments)
        return cls(llm, common.adapters)

    async def tokens(self, ask: EngineRequest) -> AsyncGenerator[int, None]:
        """Yield the number of new tokens whenever some arrive."""
        self._count += 1
        parameters = SamplingParams(
            max_tokens=ask.reply_tokens,
            temperature=0.0,
            ignore_eos=True,
            output_kind=RequestOutputKind.DELTA,
        )
        lora = None
        if ask.adapter is not None:
            name = f"adapter-{ask.adapter}"
            lora = LoRARequest(name, ask.adapter + 1, str(self._adapters[ask.adapter]))
        outputs = self._llm.generate(
            tokens_input(list(ask.prompt)), parameters, str(self._count), lora_request=lora
        )
        async with aclosing(outputs):
            async for output in outputs:
                yield len(output.outputs[0].token_ids)

    async def load(self, adapter: int) -> None:
        """Load the adapter and give it a slot."""
        name = f"adapter-{adapter}"
        await self._llm.add_lora(LoRARequest(name, adapter + 1, str(self._adapters[adapter])))

    async def prepare(self, adapter: int, replaces: int) -> None:
        """Do nothing, because vLLM cannot load an adapter into host memory without taking a slot for it."""

    async def close(self) -> None:
        """Stop vLLM and its processes."""
        await asyncio.to_thread(self._llm.shutdown)


def build(tensors: dict[str, Any], rank: int, targets: list[str]) -> LoRAModel:
    """Return vLLM's object of an adapter, made from its tensors."""
    helper = PEFTHelper(r=rank, lora_alpha=rank, target_modules=targets)
    return LoRAModel.from_lora_tensors(1, tensors, helper, device="cpu")
