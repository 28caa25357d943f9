"""The thread that computes: it takes rows in at step boundaries and steps the batch."""

import asyncio
import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import NamedTuple

import torch

from populace.actors.errors import EngineUnavailable
from populace.engines.torch_adapters import AdaptedModel
from populace.engines.torch_batch import Row, RunningBatch
from populace.engines.work_counter import WorkCounter

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
