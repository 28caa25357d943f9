"""The reference engine: transformers and PEFT, on any machine.

Every result of another engine is checked against this one, so it is simple. It
batches: rows with different adapters, or none, share each step and join and leave between steps.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from typing import Self

import torch

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
)
from populace.actors.errors import AdapterInvalid
from populace.actors.owner import NO_OWNER, Owner
from populace.adapters.base_modules import BaseModules, read_base_modules
from populace.adapters.packing import read_adapter
from populace.engines.adapter_files import AdapterFiles, OwnAdapterFiles, opened_on_thread
from populace.engines.options import EngineOptions
from populace.engines.prompts import BaseTokenizer, PromptTokens
from populace.engines.reply_grammar import Grammars
from populace.engines.sampling import check_sampling, refuse_too_long, reply_tokens_max, said_again
from populace.engines.serving_memory import (
    ServingMemory,
    read_serving_memory,
    served_base,
    starting_state,
    written_from,
    written_roles,
)
from populace.engines.slots import AdmissionGate, gate_of
from populace.engines.stages import record_stages
from populace.engines.torch_adapters import AdaptedModel, AdapterAbsent
from populace.engines.torch_batch import Row
from populace.engines.torch_memory import RowMemory
from populace.engines.torch_worker import TorchWorker
from populace.engines.work_counter import RequestWork


class TorchEngine:
    """An ``Engine`` in this process, with one worker thread. Use it from one event loop."""

    def __init__(
        self,
        base: BaseInfo,
        tokenizer: BaseTokenizer,
        worker: TorchWorker,
        gate: AdmissionGate,
        memory: ServingMemory | None,
        grammars: Grammars,
        check: Callable[[AdapterRef], object],
        adapters: AdapterFiles,
    ) -> None:
        self._base = base
        self._check = check
        self._adapters = adapters
        self._memory = memory
        self._tokenizer = tokenizer
        self._worker = worker
        self._gate = gate
        self._rows: set[Row] = set()
        self._embedding = 0
        self._grammars = grammars
        self._closing: asyncio.Task[None] | None = None

    @classmethod
    async def start(cls, options: EngineOptions, *, adapters: AdapterFiles | None = None) -> Self:
        """Load the base and start the worker thread.

        bfloat16 is the default because it is faster where it matters: on 2 cores with AVX-512
        bf16, 241 tokens/s against 141 in float32 at 8 rows (33 against 35 at one). float32 is
        for comparisons that must be exact to the token.
        """
        modules: BaseModules = await asyncio.to_thread(
            read_base_modules, options.base_directory, options.fingerprint
        )
        memory = await asyncio.to_thread(read_serving_memory, options.memory_module, modules)
        files = adapters or OwnAdapterFiles()
        worker = TorchWorker(
            lambda: AdaptedModel(
                options.base_directory,
                modules,
                dtype=torch.float32 if options.dtype == "float32" else torch.bfloat16,
                loaded_max=options.adapter_slots + options.reserve,
                rank_max=options.rank_max,
                memory=memory,
                scratch=files.scratch,
            ),
            options.threads,
        )
        tokenizer = await asyncio.to_thread(BaseTokenizer, options.base_directory, written_roles(memory))
        await asyncio.to_thread(worker.start)

        def check(adapter: AdapterRef) -> None:
            with files.opened(adapter) as path:
                read_adapter(path, modules, rank_max=options.rank_max, digest=adapter.digest)

        grammars = Grammars(options.base_directory)
        return cls(
            served_base(options, memory), tokenizer, worker, gate_of(options), memory, grammars, check, files
        )

    @property
    def base(self) -> BaseInfo:
        return self._base

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        self._gate.check_open()
        check_sampling(request.sampling)
        self._tokenizer.check_sampling(request.sampling)
        self._tokenizer.check_reply(request.reply_ids)
        refuse_too_long(self._tokenizer.tokens_min(request.prompt), request, self._base.context_tokens)
        prompt = await self._tokenizer.tokens(
            request.prompt, written_from(request.memory), request.template, request.owner
        )
        sampling = said_again(request)
        tokens_max = reply_tokens_max(len(prompt.ids), sampling, self._base.context_tokens)
        memory = self._row_memory(request.memory, prompt)
        grammar = await self._grammars.grammar(sampling.response_schema, sampling.response_pattern)
        key = None if request.adapter is None else request.adapter.digest
        ticket = await self._gate.enter(key, request.owner, prompt_tokens=len(prompt.ids))
        deltas: asyncio.Queue[Delta | Exception] = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def deliver(item: Delta | Exception) -> None:
            if not row.cancelled:
                loop.call_soon_threadsafe(deltas.put_nowait, item)

        work = RequestWork(self._worker.work)
        row = Row(request, prompt.ids, tokens_max, self._tokenizer, deliver, work, memory, grammar)
        self._rows.add(row)
        try:
            self._worker.submit(row)
            item = await deltas.get()
            if isinstance(item, AdapterAbsent):
                async with opened_on_thread(self._adapters, item.adapter) as path:
                    row.adapter = item.adapter._replace(path=str(path))
                    self._worker.submit(row)
                    # Whatever comes, the worker needs the file no more.
                    item = await deltas.get()
            if isinstance(item, AdapterAbsent):
                raise AdapterInvalid("its file was removed while it was loaded")
            while True:
                if isinstance(item, Exception):
                    raise item
                self._gate.charge(ticket, len(item.token_ids))
                if item.finish_reason is not None:
                    record_stages(work.stages)
                    yield item
                    return
                yield item
                item = await deltas.get()
        finally:
            row.cancelled = True
            self._rows.discard(row)
            self._gate.leave(ticket)

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        """Check the adapter; nothing of it is kept, as the worker reads it when a request needs it."""
        self._gate.check_open()
        await asyncio.to_thread(self._check, adapter)

    async def forget(self, adapter: AdapterRef) -> None:
        self._gate.check_open()
        await self._worker.forget(adapter.digest)

    async def embed(self, prompts: Sequence[Prompt], owner: Owner = NO_OWNER) -> list[Embedding]:
        """Embed one prompt after the other, each between two steps, so that replies go on meanwhile."""
        self._gate.check_open()
        read = await self._tokenizer.read(prompts, self._base.context_tokens, owner)
        ticket = await self._gate.enter(None, owner, prompt_tokens=sum(map(len, read)))
        self._embedding += 1
        try:
            return [Embedding(await self._worker.embed(ids), len(ids)) for ids in read]
        finally:
            self._embedding -= 1
            self._gate.leave(ticket)

    def _row_memory(self, use: MemoryUse | None, prompt: PromptTokens) -> RowMemory | None:
        state = starting_state(self._memory, use, self._worker.work)
        if state is None or use is None or self._memory is None:
            return None
        return RowMemory(
            self._memory.module,
            self._memory.format,
            torch.tensor(state),
            prompt,
            reads=use.read,
            writes=use.new_from is not None,
        )

    def statistics(self) -> EngineStatistics:
        return replace(self._gate.statistics(), work=self._worker.work.snapshot())

    def held(self) -> HeldAdapters:
        return HeldAdapters(hot=self._worker.loaded[::-1])

    def has(self, digest: str) -> bool:
        return self._gate.in_flight(digest) or digest in self._worker.loaded

    def check_integrity(self) -> None:
        self._gate.check_integrity()
        assert len(self._rows) + self._embedding == self.statistics().running

    async def close(self) -> None:
        if self._closing is None:
            self._gate.close("it was closed")
            self._closing = asyncio.create_task(asyncio.to_thread(self._worker.close))
            self._closing.add_done_callback(lambda _: self._tokenizer.close())
        await asyncio.shield(self._closing)
