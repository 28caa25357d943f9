"""The reference engine: transformers and PEFT, on any machine.

Every result of another engine is checked against this one, so it is simple. It
batches: rows with different adapters, or none, share each step and join and leave between steps.
"""

import asyncio
import logging
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import NamedTuple, Self

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
from populace.actors.errors import AdapterInvalid, EngineUnavailable
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
from populace.engines.torch_batch import Row, RunningBatch
from populace.engines.torch_memory import RowMemory
from populace.engines.work_counter import RequestWork, WorkCounter

logger = logging.getLogger(__name__)


class _Forget(NamedTuple):
    """An adapter to unload between two steps, and the future that is set when it is done."""

    digest: str
    done: Future[None]


class _Embed(NamedTuple):
    """A prompt to embed between two steps, and the future of its embedding."""

    ids: list[int]
    done: Future[tuple[float, ...]]


class TorchWorker:
    """Owns the model and the batch. ``submit`` and ``close`` may be called from any thread."""

    def __init__(self, load_model: Callable[[], AdaptedModel], threads: int | None) -> None:
        self._inbox: queue.SimpleQueue[Row | _Forget | _Embed | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        self._threads = threads
        self._load_model = load_model
        self._started: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="torch-engine", daemon=True)
        self.work = WorkCounter()
        """What was computed. The worker's thread writes it."""
        self.loaded: tuple[str, ...] = ()
        """Digests of the loaded adapters, the least recently used first. Any thread may read it."""

    def start(self) -> None:
        """Load the model in the worker thread and wait for it; raises what loading raised."""
        self._thread.start()
        error = self._started.get()
        if error is not None:
            raise error

    def submit(self, row: Row) -> None:
        """Let the row join the batch; one that comes after the end gets ``EngineUnavailable``."""
        try:
            self._put(row)
        except EngineUnavailable as error:
            row.deliver(error)

    async def forget(self, digest: str) -> None:
        """Unload an adapter unless a row uses it. Raises ``EngineUnavailable`` if the worker was closed."""
        forget = _Forget(digest, Future())
        self._put(forget)
        await asyncio.wrap_future(forget.done)

    async def embed(self, ids: list[int]) -> tuple[float, ...]:
        """Embed a prompt between two steps. Raises ``EngineUnavailable`` if it fails or is closed."""
        embed = _Embed(ids, Future())
        self._put(embed)
        return await asyncio.wrap_future(embed.done)

    def close(self) -> None:
        """Stop after the current step and wait for the thread. Rows left get ``EngineUnavailable``."""
        with self._closing:
            self._closed = True
            self._inbox.put(None)
        self._thread.join()

    def _put(self, entry: Row | _Forget | _Embed) -> None:
        """Put an entry into the inbox, unless nobody would take it out any more."""
        with self._closing:
            if self._closed:
                raise EngineUnavailable("it was closed")
            self._inbox.put(entry)

    def _run(self) -> None:
        if self._threads is not None:
            torch.set_num_threads(self._threads)
        try:
            model = self._load_model()
        except Exception as error:  # handed to the thread that called start
            self._started.put(error)
            return
        self._started.put(None)
        batch = RunningBatch(model)
        with torch.inference_mode():
            while self._serve(model, batch):
                pass

    def _serve(self, model: AdaptedModel, batch: RunningBatch) -> bool:
        """Take in what waits, unload what is to be forgotten, and compute a step; return False if closed."""
        entries, closed = self._arrivals(wait=not batch.rows)
        arrived = [entry for entry in entries if isinstance(entry, Row)]
        forgotten = [entry for entry in entries if isinstance(entry, _Forget)]
        embeds = [entry for entry in entries if isinstance(entry, _Embed)]
        if closed:
            for row in (*batch.rows, *arrived):
                row.deliver(EngineUnavailable("it was closed"))
            for waiting in (*forgotten, *embeds):
                if waiting.done.set_running_or_notify_cancel():
                    waiting.done.set_exception(EngineUnavailable("it was closed"))
            return False
        try:
            # After the inbox was emptied: a row that was let in for a cancelled one came later
            # than its mark, so adapters in use never exceed the slots.
            batch.drop_ended()
            for forget in forgotten:
                self._forget(model, forget, [*batch.rows, *arrived])
            for embed in embeds:
                _embed(model, embed)
            for position, row in enumerate(arrived):
                self._join(model, batch, row, arrived[position:])
            batch.drop_ended()
            if batch.rows:
                batch.step()
                batch.drop_ended()
        except Exception as error:
            logger.exception("a step of %d rows failed", len(batch.rows))
            for row in (*batch.rows, *arrived):
                row.deliver(EngineUnavailable(f"a step failed: {error}"))
            batch.clear()
        return True

    def _join(self, model: AdaptedModel, batch: RunningBatch, row: Row, pending: list[Row]) -> None:
        if row.cancelled:
            return
        if row.adapter is not None:
            in_use = {r.adapter.digest for r in (*batch.rows, *pending) if r.adapter is not None}
            try:
                model.load(row.adapter, in_use)
            except Exception as error:  # only this adapter fails: the batch goes on
                row.deliver(error)
                return
            self.loaded = model.loaded
        batch.join(row)

    def _forget(self, model: AdaptedModel, forget: _Forget, rows: list[Row]) -> None:
        if not forget.done.set_running_or_notify_cancel():
            return
        try:
            if not any(row.adapter is not None and row.adapter.digest == forget.digest for row in rows):
                model.forget(forget.digest)
                self.loaded = model.loaded
        except Exception as error:  # reported to the caller of forget
            forget.done.set_exception(error)
        else:
            forget.done.set_result(None)

    def _arrivals(self, *, wait: bool) -> tuple[list[Row | _Forget | _Embed], bool]:
        """Return all entries of the inbox in order, with ``wait`` at least one, and whether it is closed."""
        arrived: list[Row | _Forget | _Embed] = []
        closed = False
        while wait or not self._inbox.empty():
            entry = self._inbox.get()
            wait = False
            if entry is None:
                closed = True
            else:
                arrived.append(entry)
        return arrived, closed


def _embed(model: AdaptedModel, embed: _Embed) -> None:
    if not embed.done.set_running_or_notify_cancel():
        return
    try:
        values = model.embed(embed.ids)
    except Exception as error:  # only this prompt fails: the batch goes on
        logger.exception("a prompt of %d tokens could not be embedded", len(embed.ids))
        embed.done.set_exception(EngineUnavailable(f"a prompt could not be embedded: {error}"))
    else:
        embed.done.set_result(values)


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
