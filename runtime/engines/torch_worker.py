"""The thread that computes: it takes rows in at step boundaries and steps the batch."""

import logging
import queue
import threading
from collections.abc import Callable

import torch

from populace.actors.errors import EngineUnavailable
from populace.engines.torch_adapters import AdaptedModel
from populace.engines.torch_batch import Row, RunningBatch

logger = logging.getLogger(__name__)


class TorchWorker:
    """Owns the model and the batch. ``submit`` and ``close`` may be called from any thread."""

    def __init__(self, load_model: Callable[[], AdaptedModel], threads: int | None) -> None:
        self._inbox: queue.SimpleQueue[Row | None] = queue.SimpleQueue()
        self._threads = threads
        self._load_model = load_model
        self._started: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="torch-engine", daemon=True)
        self.loaded: tuple[str, ...] = ()
        """Digests of the loaded adapters, the least recently used first. Any thread may read it."""

    def start(self) -> None:
        """Load the model in the worker thread and wait for it; raises what loading raised."""
        self._thread.start()
        error = self._started.get()
        if error is not None:
            raise error

    def submit(self, row: Row) -> None:
        self._inbox.put(row)

    def close(self) -> None:
        """Stop after the current step and wait for the thread. Rows left get ``EngineUnavailable``."""
        self._inbox.put(None)
        self._thread.join()

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
        """One round: take in what waits, let go what ended, compute one step. False: closed."""
        arrived, closed = self._arrivals(wait=not batch.rows)
        if closed:
            for row in (*batch.rows, *arrived):
                row.deliver(EngineUnavailable("it was closed"))
            return False
        try:
            # After the inbox was emptied: whoever was let in for a cancelled row came later
            # than its mark, so adapters in use never exceed the slots.
            batch.drop_ended()
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
            except Exception as error:  # this adapter's fault alone: the batch goes on
                row.deliver(error)
                return
            self.loaded = model.loaded
        batch.join(row)

    def _arrivals(self, *, wait: bool) -> tuple[list[Row], bool]:
        """Everything in the inbox, in order; with ``wait``, at least one entry. True: closed."""
        arrived: list[Row] = []
        closed = False
        while wait or not self._inbox.empty():
            entry = self._inbox.get()
            wait = False
            if entry is None:
                closed = True
            else:
                arrived.append(entry)
        return arrived, closed
