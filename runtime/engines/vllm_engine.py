# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# vLLM's classes are annotated in part only.
"""The serving engine: vLLM's ``AsyncLLM``.

Import it late: on a machine without a GPU, ``cpu_environment`` should be set by then.

Calls of tools are read by vLLM's parsers, in the format that the model learned.
What leaves the engine is the text of ``actors/tool_calls.py`` for every base, so the log, the memory and the
gateway know one format.
"""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import torch
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.exceptions import QueueOverflowError, VLLMClientError, VLLMError
from vllm.inputs.engine import tokens_input
from vllm.lora.request import LoRARequest
from vllm.outputs import RequestOutput
from vllm.tool_parsers import ToolParserManager
from vllm.v1.engine.async_llm import AsyncLLM
from vllm.v1.engine.exceptions import EngineDeadError, EngineGenerateError

from populace.actors.engine import (
    AdapterRef,
    BaseInfo,
    Delta,
    Embedding,
    EngineStatistics,
    GenerateRequest,
    HeldAdapters,
    MemoryUse,
    Prompt,
    Sampling,
    joined,
)
from populace.actors.errors import AdapterInvalid, EngineOverloaded, EngineUnavailable, InvalidRequest
from populace.actors.owner import NO_OWNER, Owner
from populace.actors.tool_calls import ToolCall, with_calls
from populace.actors.tool_choice import CALLS_MAX, PARALLEL
from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.random_adapter import random_image
from populace.engines.adapter_files import AdapterFiles, OwnAdapterFiles
from populace.engines.adapter_table import AdapterTable
from populace.engines.options import EngineOptions
from populace.engines.prompts import TOOLS, BaseTokenizer, PromptTokens
from populace.engines.reply_watch import ReplyWatch
from populace.engines.sampling import (
    check_sampling,
    refuse_too_long,
    reply_tokens_max,
    said_again,
)
from populace.engines.schema_grammar import check_form
from populace.engines.serving_memory import (
    ServingMemory,
    read_serving_memory,
    served_base,
    starting_state,
    written_from,
    written_roles,
)
from populace.engines.slots import AdmissionGate, Ticket, gate_of
from populace.engines.stages import Stages, record_stages
from populace.engines.vllm_embedder import VllmEmbedder
from populace.engines.vllm_environment import applied
from populace.engines.vllm_memory.request import MemoryRequest
from populace.engines.vllm_start import (
    engine_arguments,
    process_variables,
    start_process,
    warm_tier,
)
from populace.engines.vllm_statistics import statistics_of
from populace.engines.vllm_values import Call, cache_salt, delta_of, prompt_rows, sampling_parameters
from populace.engines.vllm_workers import call_workers
from populace.engines.warm_tier import WarmTier
from populace.telemetry.tracing.spans import TRACER


class CallText:
    """The text of one reply. Words are shown as they come, calls together at the reply's end.

    With ``parallel`` False only the first call is shown.
    """

    def __init__(self, parser: str, tokenizer: Any, tools: Sequence[Any], *, parallel: bool = True) -> None:
        made = ToolParserManager.get_tool_parser(parser)
        asked = {"model": "base", "messages": [{"role": "user", "content": ""}], "tools": list(tools)}
        self._request = ChatCompletionRequest.model_validate(asked)
        # Streaming keeps a state, which must not be that of the whole text.
        self._words, self._whole = (made(tokenizer, list(self._request.tools or ())) for _ in range(2))
        self._calls_max = CALLS_MAX if parallel else 1
        self._text, self._shown = "", ""
        self._ids: list[int] = []

    def shown(self, delta: Delta) -> Delta:
        """Return the delta with the text that is to be shown instead."""
        before, ids = self._text, list(self._ids)
        self._text += delta.text
        self._ids += delta.token_ids
        told = self._words.extract_tool_calls_streaming(
            before, self._text, delta.text, ids, self._ids, delta.token_ids, self._request
        )
        words = "" if told is None else told.content or ""
        if delta.finish_reason is not None:
            words = self._end().removeprefix(self._shown)
        self._shown += words
        return replace(delta, text=words)

    def _end(self) -> str:
        found = self._whole.extract_tool_calls(self._text, self._request)
        if not found.tools_called:
            return self._text
        calls = [ToolCall(call.id, call.function.name, call.function.arguments) for call in found.tool_calls]
        return with_calls(self._shown or (found.content or "").strip(), calls[: self._calls_max])


def check_parser(parser: str | None) -> None:
    """Raise ``InvalidRequest`` if vLLM has no parser of this name."""
    if parser is None:
        return
    try:
        ToolParserManager.get_tool_parser(parser)
    except KeyError as error:
        raise InvalidRequest(f"vLLM has no tool parser {parser!r}: {error}", "tool_parser") from None


async def with_call_text(deltas: AsyncGenerator[Delta, None], text: CallText) -> AsyncGenerator[Delta, None]:
    """Show the calls of a reply as text."""
    async with aclosing(deltas):
        async for delta in deltas:
            yield text.shown(delta)


TOKENS = 40
"""Tokens of the prompt: more than a memory's compiled step takes in one call."""

NUMBER = 2**31 - 1
"""The number of the warm-up's adapter. Those of people's adapters count from 1."""


def warm_up_request(context_tokens: int, *, with_memory: bool) -> GenerateRequest:
    """Return a request whose prompt and reply use every part of the engine but adapters."""
    return GenerateRequest(
        "warm-up",
        (0,) * min(TOKENS, context_tokens // 2),
        Sampling(max_tokens=2, temperature=0.0, ignore_eos=True, logprobs=1, prompt_logprobs=1),
        memory=MemoryUse() if with_memory else None,
    )


@contextmanager
def warm_up_adapter(modules: BaseModules, dtype: torch.dtype) -> Generator[LoRARequest]:
    """Make an adapter for an engine of this type. Its file is removed after the block."""
    with tempfile.TemporaryDirectory(prefix="populace-warm-up-") as folder:
        image = Path(folder) / "image"
        image.write_bytes(random_image(modules, dtype, seed=0))
        yield LoRARequest("warm-up", NUMBER, str(image))


def with_stages(outputs: AsyncGenerator[RequestOutput, None]) -> AsyncGenerator[RequestOutput, None]:
    """Yield the same outputs, and record the stages of the request before its last one, if traces are on."""
    return _recorded(outputs) if TRACER.is_on else outputs


async def _recorded(outputs: AsyncGenerator[RequestOutput, None]) -> AsyncGenerator[RequestOutput, None]:
    async with aclosing(outputs):
        async for output in outputs:
            times = output.metrics
            if output.finished and times is not None:
                # vLLM's process takes them by the monotonic clock of this machine.
                record_stages(
                    Stages(times.queued_ts, times.scheduled_ts, times.first_token_ts, times.last_token_ts)
                )
            yield output


@contextmanager
def our_errors() -> Generator[None]:
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
        warm: WarmTier,
        memory: ServingMemory | None,
    ) -> None:
        self._base = base
        self._memory = memory
        self._tokenizer = tokenizer
        self._llm: AsyncLLM | None = llm
        self._statistics = statistics_of(llm)
        self._gate = gate
        self._warm = warm
        self._table = AdapterTable(self._add_lora, self._remove_lora, gate, warm)
        self._embedder = VllmEmbedder(self._running_llm, self._place, gate)
        self._cache_secret = secrets.token_bytes(32)
        self._generating = 0
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        options: EngineOptions,
        *,
        adapters: AdapterFiles | None = None,
        vllm_arguments: Mapping[str, Any] | None = None,
    ) -> Self:
        """Start the engine process: 20 s on 2 cores. ``vllm_arguments`` are more ``AsyncEngineArgs``."""
        if options.memory_module is not None and (vllm_arguments or {}).get("speculative_config") is not None:
            raise InvalidRequest(
                "A base with a memory is served without speculative decoding: what a draft writes cannot be "
                "taken back. Leave out one of the two.",
                "speculative_config",
            )
        check_parser(options.tool_parser)
        modules = await asyncio.to_thread(read_base_modules, options.base_directory, options.fingerprint)
        memory = await asyncio.to_thread(read_serving_memory, options.memory_module, modules)
        tokenizer = await asyncio.to_thread(BaseTokenizer, options.base_directory, written_roles(memory))
        arguments = engine_arguments(options, modules, memory, vllm_arguments)
        with applied(process_variables(options, has_memory=memory is not None)), our_errors():
            llm = await asyncio.to_thread(start_process, arguments)
        engine = cls(
            served_base(options, memory),
            tokenizer,
            llm,
            gate_of(options),
            warm_tier(modules, options, llm.model_config.dtype, adapters or OwnAdapterFiles()),
            memory,
        )
        await engine._embedder.start()
        await engine._warm_up(modules, llm.model_config.dtype)
        engine._statistics.restart()
        return engine

    @property
    def base(self) -> BaseInfo:
        return self._base

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        self._gate.check_open()
        check_sampling(request.sampling)
        self._tokenizer.check_sampling(request.sampling)
        await check_form(request.sampling.response_schema, request.sampling.response_pattern)
        self._tokenizer.check_reply(request.reply_ids)
        refuse_too_long(self._tokenizer.tokens_min(request.prompt), request, self._base.context_tokens)
        prompt = await self._tokenizer.tokens(
            request.prompt, written_from(request.memory), request.template, request.owner
        )
        tokens_max = reply_tokens_max(len(prompt.ids), said_again(request), self._base.context_tokens)
        memory = self._memory_request(request, prompt)
        key = None if request.adapter is None else request.adapter.digest
        if request.adapter is not None and not self._gate.has_room(key, request.owner):
            self._table.stage(request.adapter)
        async with self._place(request.owner, len(prompt.ids), key) as ticket:
            lora = None if request.adapter is None else await self._ready(request.adapter)
            call = Call(request, prompt.ids, lora, memory)
            replies = self._reply(call, tokens_max) if request.reply_ids is None else self._said_again(call)
            if not request.stream:
                replies = _whole(replies)
            tools = request.template.get(TOOLS)
            if tools and self._base.tool_parser is not None:
                text = CallText(
                    self._base.tool_parser,
                    self._tokenizer.template_tokenizer,
                    tools,
                    parallel=request.template.get(PARALLEL) is not False,
                )
                replies = with_call_text(replies, text)
            async with aclosing(replies) as deltas:
                async for delta in deltas:
                    self._gate.charge(ticket, len(delta.token_ids))
                    yield delta

    @asynccontextmanager
    async def _place(self, owner: Owner, tokens: int, key: str | None = None) -> AsyncGenerator[Ticket]:
        """Wait for a place in the batch, and hold it; vLLM's errors inside become ours."""
        ticket = await self._gate.enter(key, owner, prompt_tokens=tokens)
        self._generating += 1
        try:
            with our_errors():
                yield ticket
        except EngineUnavailable:
            self._close_gate_if_dead()
            self._gate.check_open()  # raises with the reason, if it is unavailable
            raise
        finally:
            self._generating -= 1
            self._gate.leave(ticket)
            if key is not None:
                self._table.touch(key)

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        with our_errors():
            self._gate.check_open()
            await self._table.prepare(adapter, replaces)

    async def forget(self, adapter: AdapterRef) -> None:
        with our_errors():
            self._gate.check_open()
            await self._table.forget(adapter.digest)

    async def embed(self, prompts: Sequence[Prompt], owner: Owner = NO_OWNER) -> list[Embedding]:
        self._gate.check_open()
        read = await self._tokenizer.read(prompts, self._base.context_tokens, owner)
        with our_errors():
            return await self._embedder.embed(read, owner)

    async def _reply(self, call: Call, tokens_max: int) -> AsyncGenerator[Delta, None]:
        """Choose the reply; fetch the memory state that it left before the last delta."""
        said: list[int] = []
        prompt_is_told = not call.request.sampling.wants_prompt
        watch = ReplyWatch(call.request)
        in_deltas = call.request.stream or watch.is_on
        ended: Delta | None = None
        async with aclosing(self._outputs(call, call.prompt_ids, tokens_max, in_deltas=in_deltas)) as outputs:
            async for output in outputs:
                delta = delta_of(call, output, self._tokenizer.token_text)
                if not prompt_is_told:
                    prompt_is_told = True
                    rows = prompt_rows(output, call.prompt_ids, self._tokenizer.token_text)
                    delta = replace(delta, prompt=self._tokenizer.prompt_read(call.prompt_ids, rows))
                said += delta.token_ids
                if delta.finish_reason is not None and call.writes:
                    delta = replace(delta, memory=await self._taken_state(call, said))
                if delta.finish_reason is None and (how := watch.degenerates(delta.text)) is not None:
                    ended = replace(delta, finish_reason=how)
                    break
                yield delta
        if ended is None:
            return
        self._statistics.counter.finished[str(ended.finish_reason)] += 1
        # vLLM was told to give it up, and goes on until it is: what it left is another state by now.
        yield replace(ended, memory=await self._computed_state(call, said)) if call.writes else ended

    async def _said_again(self, call: Call) -> AsyncGenerator[Delta, None]:
        """Read the reply as a prompt, which leaves the same state as choosing its tokens."""
        reply_ids = call.request.reply_ids
        assert reply_ids, "checked before"
        state = await self._computed_state(call, reply_ids) if call.writes else None
        text = self._tokenizer.text(reply_ids)
        yield Delta(text, tuple(reply_ids), len(call.prompt_ids), finish_reason="length", memory=state)

    def _outputs(
        self, call: Call, prompt_ids: list[int], tokens_max: int, *, in_deltas: bool = False
    ) -> AsyncGenerator[RequestOutput, None]:
        request, memory = call.request, call.memory
        parameters = sampling_parameters(request, tokens_max, self._tokenizer, in_deltas=in_deltas)
        salt = cache_salt(self._cache_secret, request)
        if memory is not None:
            parameters.extra_args = {**(parameters.extra_args or {}), **memory.arguments()}
            # A cached block would skip writes; and what was read under one state is no other's.
            if memory.writes and not memory.gated:
                parameters.skip_reading_prefix_cache = True
            salt = memory.cache_salt(salt)
        prompt, llm = tokens_input(prompt_ids, cache_salt=salt), self._running_llm()
        return with_stages(llm.generate(prompt, parameters, request.request_id, lora_request=call.lora))

    def _memory_request(self, request: GenerateRequest, prompt: PromptTokens) -> MemoryRequest | None:
        start = starting_state(self._memory, request.memory, self._statistics.counter)
        if start is None or request.memory is None:
            return None
        return MemoryRequest(
            # Not the request's id: a repeated request must not find what the first one left.
            key=secrets.token_hex(16),
            state=None if request.memory.state is None else start.tobytes(),
            reads=request.memory.read,
            writes=request.memory.new_from is not None,
            prompt_tokens=len(prompt.ids),
            spans=prompt.spans,
            gated=self._memory is not None and self._memory.module.shape.gated,
        )

    async def _taken_state(self, call: Call, reply_ids: Sequence[int]) -> bytes:
        """Fetch the state that the reply left, which has taken in all tokens but the last.

        A stop string may have been found so late that the state of that token is gone: then it is
        computed again from the same tokens.
        """
        assert self._memory is not None
        assert call.memory is not None
        tokens = len(call.prompt_ids) + len(reply_ids) - 1
        state = await self._take(call.memory.key, tokens)
        return await self._computed_state(call, reply_ids) if state is None else self._memory.pack(state)

    async def _computed_state(self, call: Call, reply_ids: Sequence[int]) -> bytes:
        assert self._memory is not None
        assert call.memory is not None
        again = call.again()
        assert again.memory is not None
        ingested = [*call.prompt_ids, *reply_ids[:-1]]
        async with aclosing(self._outputs(again, ingested, 1)) as outputs:
            async for _ in outputs:
                pass
        state = await self._take(again.memory.key, len(ingested))
        if state is None:
            raise EngineUnavailable("the memory state of a finished reply was lost")
        return self._memory.pack(state)

    async def _take(self, key: str, tokens: int) -> bytes | None:
        """Fetch the state from the workers, which forget the request; each of them has all of it, if any."""
        [first, *_] = await call_workers(self._running_llm, "take_memory_state", key, tokens)
        return first

    async def _ready(self, adapter: AdapterRef) -> LoRARequest:
        loaded = await self._table.ready(adapter)
        return LoRARequest(adapter.digest, loaded.number, str(loaded.image.path))

    async def _warm_up(self, modules: BaseModules, dtype: torch.dtype) -> None:
        """Read a prompt and make a token, without and with an adapter.

        First steps load code, which took 5 to 15 s on a cold disk.
        """
        request = warm_up_request(self._base.context_tokens, with_memory=self._memory is not None)
        async for _ in self.generate(request):
            pass
        with our_errors(), warm_up_adapter(modules, dtype) as lora:
            async for _ in self._outputs(Call(request, [0], lora, None), [0], 2):
                pass
            await self._remove_lora(lora.lora_int_id)

    async def _remove_lora(self, number: int) -> None:
        await self._running_llm().remove_lora(number)

    async def _add_lora(self, digest: str, number: int, image: Path) -> None:
        try:
            await self._running_llm().add_lora(LoRARequest(digest, number, str(image)))
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

    def statistics(self) -> EngineStatistics:
        tiers = {"hot": self._table.statistics(), "warm": self._warm.statistics()}
        return replace(self._gate.statistics(), work=self._statistics.work(), **tiers)

    def held(self) -> HeldAdapters:
        return self._table.held()

    def has(self, digest: str) -> bool:
        return self._gate.in_flight(digest) or self._table.has(digest)

    def check_integrity(self) -> None:
        self._gate.check_integrity()
        running = self.statistics().running
        assert self._generating + self._table.places == running
        if self._llm is not None:
            assert self._llm.get_num_unfinished_requests() <= running
            assert not self._llm.errored, "vLLM's process died"
        self._table.check_integrity()

    async def close(self) -> None:
        if self._closing is None:
            self._gate.close("it was closed")
            self._closing = asyncio.create_task(self._stop())
        await asyncio.shield(self._closing)

    async def _stop(self) -> None:
        llm, self._llm = self._running_llm(), None
        # Before the process ends, as its end alone would leave the readers waiting for ever.
        llm.output_processor.propagate_error(EngineDeadError())
        self._table.close()
        if llm.output_handler is not None:  # it would log the end of the process as an error
            llm.output_handler.cancel()
        await asyncio.to_thread(llm.shutdown)
        self._tokenizer.close()


async def _whole(deltas: AsyncGenerator[Delta, None]) -> AsyncGenerator[Delta, None]:
    """Yield a reply at once; what is watched comes from vLLM in parts."""
    async with aclosing(deltas):
        yield joined([delta async for delta in deltas])
