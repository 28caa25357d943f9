# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# vLLM's classes are annotated in part only.
"""vLLM without anything of Populace in it, for comparison."""

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

from populace.bench.engine_sides import Ask, Side, Start
from populace.engines.vllm_environment import PLUGIN_VARIABLE, applied, vllm_environment


class StockVllm:
    """vLLM as it comes: adapters by their directory, loaded when a request first needs them."""

    def __init__(self, llm: Any, adapters: tuple[Path, ...]) -> None:
        self._llm = llm
        self._adapters = adapters
        self._count = 0

    @classmethod
    async def start(cls, side: Side, common: Start) -> Self:
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
        environment = vllm_environment(common.threads)
        del environment[PLUGIN_VARIABLE]
        with applied(environment):
            llm = await asyncio.to_thread(AsyncLLM.from_engine_args, arguments)
        return cls(llm, common.adapters)

    async def tokens(self, ask: Ask) -> AsyncGenerator[int, None]:
        """Yield how many tokens came, as they come."""
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
        """Do nothing: vLLM can load an adapter into a slot, and no less than that."""

    async def close(self) -> None:
        await asyncio.to_thread(self._llm.shutdown)


def build(tensors: dict[str, Any], rank: int, targets: list[str]) -> LoRAModel:
    """Make the objects that vLLM keeps of an adapter, from its tensors."""
    helper = PEFTHelper(r=rank, lora_alpha=rank, target_modules=targets)
    return LoRAModel.from_lora_tensors(1, tensors, helper, device="cpu")
