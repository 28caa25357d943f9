# pyright: reportUnknownMemberType=false
# vLLM's classes are annotated in part only.
"""The serving engine: vLLM's ``AsyncLLM``. The only file that imports vLLM.

Import it late: on a machine without a GPU, ``vllm_environment`` should be set by then.
"""

import asyncio
import functools
import os
import tempfile
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Self, cast, get_args

from vllm.config.lora import MaxLoRARanks
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.exceptions import QueueOverflowError, VLLMClientError, VLLMError
from vllm.inputs.engine import tokens_input
from vllm.logprobs import Logprob
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.platforms import current_platform
from vllm.sampling_params import RequestOutputKind, SamplingParams
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from populace.actors.engine import (
    AdapterRef,
    BaseInfo,
    Delta,
    EngineStatistics,
    FinishReason,
    GenerateRequest,
    Sampling,
    TokenLogprob,
)
from populace.actors.errors import AdapterInvalid, EngineOverloaded, EngineUnavailable, InvalidRequest
from populace.adapters.base_modules import read_base_modules
from populace.adapters.peft_directory import read_peft_directory
from populace.adapters.random_adapter import write_random_adapter
from populace.engines.adapter_shelf import AdapterShelf
from populace.engines.prompts import BaseTokenizer
from populace.engines.sampling import LOGPROBS_MAX, check_sampling, generator_seed, reply_tokens_max
from populace.engines.slots import AdmissionGate, AdmissionQueue
from populace.engines.vllm_environment import applied, vllm_environment


class VllmEngine:
    """An ``Engine`` over one vLLM engine process. Use it from the event loop that started it.

    A request waits here, not in vLLM, until it has a batch place and its adapter a slot. An
    adapter's directory must stay until its last request has ended.
    """

    def __init__(
        self,
        base: BaseInfo,
        tokenizer: BaseTokenizer,
        llm: AsyncLLM,
        gate: AdmissionGate,
        check_adapter: Callable[[Path], object],
    ) -> None:
        self._base = base
        self._tokenizer = tokenizer
        self._llm: AsyncLLM | None = llm
        self._gate = gate
        self._shelf = AdapterShelf(
            self._add_lora, gate, check_adapter, first_number=gate.statistics().adapter_slots + 2
        )
        self._generating = 0
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        base_directory: Path,
        fingerprint: str,
        *,
        context_tokens: int,
        sequences_max: int = 16,
        adapter_slots: int = 8,
        rank_max: int = 16,
        waiting_max: int = 256,
        dtype: str = "auto",
        threads: int | None = None,
        kv_gib: int = 1,
        name: str = "base",
    ) -> Self:
        """Start the engine process: about 20 s on 2 cores. Other coroutines run meanwhile.

        ``threads`` None takes every core; ``threads`` and ``kv_gib`` count without a GPU only.
        """
        modules = await asyncio.to_thread(read_base_modules, base_directory, fingerprint)
        tokenizer = await asyncio.to_thread(BaseTokenizer, base_directory)
        on_cpu = current_platform.is_cpu()
        guarded = 1 if on_cpu else 0  # slots; see _guard_base
        arguments = AsyncEngineArgs(
            model=str(base_directory),
            dtype=dtype,  # pyright: ignore[reportArgumentType] - a Literal there
            max_model_len=context_tokens,
            max_num_seqs=sequences_max,
            enforce_eager=on_cpu,  # compiling takes minutes on a CPU and gains little
            enable_prefix_caching=True,
            enable_lora=True,
            max_loras=adapter_slots + guarded,
            # Twice the slots in host memory: an adapter that comes back soon is not read again.
            max_cpu_loras=2 * adapter_slots + guarded,
            max_lora_rank=_served_rank(rank_max),
            max_logprobs=LOGPROBS_MAX,
            # Sampling defaults and ends of a reply come with each request, never from a file.
            generation_config="vllm",
            disable_log_stats=True,
        )
        environment = vllm_environment(threads or os.cpu_count() or 1, kv_gib=kv_gib) if on_cpu else {}
        with applied(environment), _our_errors():
            llm = await asyncio.to_thread(_start_process, arguments)
        queue = AdmissionQueue(places=sequences_max, slots=adapter_slots)
        engine = cls(
            BaseInfo(name, fingerprint, context_tokens),
            tokenizer,
            llm,
            AdmissionGate(queue, waiting_max=waiting_max),
            functools.partial(read_peft_directory, base=modules, rank_max=rank_max),
        )
        if on_cpu:
            await _guard_base(llm, base_directory, next(iter(modules.linears)), adapter_slots)
        await engine._warm_up()
        return engine

    @property
    def base(self) -> BaseInfo:
        return self._base

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        self._gate.check_open()
        check_sampling(request.sampling)
        prompt_ids = await self._tokenizer.token_ids(request.prompt)
        tokens_max = reply_tokens_max(len(prompt_ids), request.sampling, self._base.context_tokens)
        ticket = await self._gate.enter(None if request.adapter is None else request.adapter.digest)
        self._generating += 1
        try:
            with _our_errors():
                llm = self._running_llm()
                lora = None if request.adapter is None else await self._ready(request.adapter)
                salt = "base" if request.adapter is None else request.adapter.digest
                outputs = llm.generate(
                    tokens_input(prompt_ids, cache_salt=salt),
                    self._parameters(request, tokens_max),
                    request.request_id,
                    lora_request=lora,
                )
                async with aclosing(outputs):
                    async for output in outputs:
                        yield self._delta(output, len(prompt_ids))
        except EngineUnavailable:
            self._close_gate_if_dead()
            self._gate.check_open()  # says why it is unavailable, if it stays so
            raise
        finally:
            self._generating -= 1
            self._gate.leave(ticket)
            if request.adapter is not None:
                self._shelf.touch(request.adapter.digest)

    async def _ready(self, adapter: AdapterRef) -> LoRARequest:
        number = await self._shelf.ready(adapter)
        return LoRARequest(adapter.digest, number, adapter.path)

    async def _warm_up(self) -> None:
        """Make one token: the first step loads code and took 5 to 15 s on a cold disk."""
        first = GenerateRequest("warm-up", (0,), Sampling(max_tokens=1, temperature=0.0))
        async for _ in self.generate(first):
            pass

    async def _add_lora(self, adapter: AdapterRef, number: int) -> None:
        try:
            await self._running_llm().add_lora(LoRARequest(adapter.digest, number, adapter.path))
        except EngineDeadError:
            raise
        except Exception as error:
            raise AdapterInvalid(f"vLLM cannot load it ({error})") from error

    def _running_llm(self) -> AsyncLLM:
        if self._llm is None:
            raise EngineUnavailable("it was closed")
        return self._llm

    def _close_gate_if_dead(self) -> None:
        if self._llm is not None and self._llm.errored:
            self._gate.close("its process died")

    def _parameters(self, request: GenerateRequest, tokens_max: int) -> SamplingParams:
        sampling = request.sampling
        return SamplingParams(
            max_tokens=tokens_max,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            seed=None if sampling.seed is None else generator_seed(sampling.seed),
            stop=list(sampling.stop),
            stop_token_ids=[] if sampling.ignore_eos else sorted(self._tokenizer.eos_ids),
            ignore_eos=sampling.ignore_eos,
            logprobs=sampling.logprobs,
            frequency_penalty=sampling.frequency_penalty,
            presence_penalty=sampling.presence_penalty,
            output_kind=RequestOutputKind.DELTA if request.stream else RequestOutputKind.FINAL_ONLY,
        )

    def _delta(self, output: RequestOutput, prompt_tokens: int) -> Delta:
        [completion] = output.outputs
        reason: FinishReason | None = None
        if output.finished:
            if completion.finish_reason not in ("stop", "length"):
                raise EngineUnavailable(f"vLLM ended the request with {completion.finish_reason!r}")
            reason = "stop" if completion.finish_reason == "stop" else "length"
        token_ids = tuple(completion.token_ids)
        positions = cast("list[dict[int, Logprob]]", completion.logprobs or [])
        logprobs = tuple(
            self._logprob(token_id, position)
            for token_id, position in zip(token_ids, positions, strict=False)
        )
        return Delta(completion.text, token_ids, prompt_tokens, logprobs, reason)

    def _logprob(self, token_id: int, position: dict[int, Logprob]) -> TokenLogprob:
        """vLLM lists the chosen token first and then the most likely ones, which may repeat it."""
        text = self._tokenizer.token_text
        alternatives = len(position) - (0 if position[token_id].rank in range(1, len(position) + 1) else 1)
        best = sorted(position.items(), key=lambda item: -item[1].logprob)[:alternatives]
        top = tuple((index, text(index), entry.logprob) for index, entry in best)
        return TokenLogprob(token_id, text(token_id), position[token_id].logprob, top)

    def statistics(self) -> EngineStatistics:
        return self._gate.statistics()

    def check_integrity(self) -> None:
        self._gate.check_integrity()
        running = self.statistics().running
        assert self._generating == running
        if self._llm is not None:
            assert self._llm.get_num_unfinished_requests() <= running
            assert not self._llm.errored, "vLLM's process died"
        self._shelf.check_integrity()

    async def close(self) -> None:
        if self._closing is None:
            self._gate.close("it was closed")
            self._closing = asyncio.create_task(self._stop())
        await asyncio.shield(self._closing)

    async def _stop(self) -> None:
        llm, self._llm = self._running_llm(), None
        # Before the process goes: its death alone would leave the readers waiting for ever.
        llm.output_processor.propagate_error(EngineDeadError())
        self._shelf.close()
        if llm.output_handler is not None:  # it would log the end of the process as an error
            llm.output_handler.cancel()
        await asyncio.to_thread(llm.shutdown)
        self._tokenizer.close()


def _start_process(arguments: AsyncEngineArgs) -> AsyncLLM:
    try:
        return AsyncLLM.from_engine_args(arguments)
    except RuntimeError as error:  # the only sign vLLM gives that its process ended at once
        raise EngineUnavailable(f"vLLM did not start: {error}") from error


async def _guard_base(llm: AsyncLLM, base_directory: Path, linear: str, slots: int) -> None:
    """Keep the last adapter slot filled with zeros for as long as the engine lives.

    Without a GPU, vLLM 0.32 marks the rows of base requests with slot -1 and then indexes with
    it: beside requests with adapters they get the last slot's adapter, another person's weights
    (vllm#48421, vllm#49656, both open). Slots are filled from the first, so ``slots`` empty
    adapters take the others, the next gets the last one and is pinned there.
    """
    with tempfile.TemporaryDirectory(prefix="populace-") as directory:
        target = linear.rsplit(".", 1)[-1]
        empty = write_random_adapter(
            Path(directory), base_directory, seed=0, rank=1, targets=(target,), scale=0.0
        )
        for number in range(1, slots + 2):
            await llm.add_lora(LoRARequest(f"empty-{number}", number, str(empty)))
        await llm.pin_lora(slots + 1)


def _served_rank(rank_max: int) -> MaxLoRARanks:
    """vLLM pads slots to one of a few ranks, in rising order: the smallest that holds ``rank_max``."""
    ranks = cast("tuple[MaxLoRARanks, ...]", get_args(MaxLoRARanks))
    fitting = [rank for rank in ranks if rank >= rank_max]
    if not fitting:
        raise InvalidRequest(f"rank_max is {rank_max}; vLLM serves ranks up to {max(ranks)}.", "rank_max")
    return cast("MaxLoRARanks", fitting[0])


@contextmanager
def _our_errors() -> Generator[None]:
    """Turn every error of vLLM into one of ours."""
    try:
        yield
    except QueueOverflowError as error:
        raise EngineOverloaded(str(error)) from error
    except VLLMClientError as error:
        raise InvalidRequest(str(error)) from error
    except EngineDeadError as error:
        raise EngineUnavailable("its process died") from error
    except EngineGenerateError as error:
        raise EngineUnavailable(f"a request failed inside vLLM: {error.__cause__!r}") from error
    except VLLMError as error:
        raise EngineUnavailable(str(error)) from error
