"""Adds up what an engine computes, for ``EngineStatistics``."""

import time
from collections import Counter
from collections.abc import Callable

from populace.actors.engine_work import CacheWork, EngineWork
from populace.engines.stages import Stages
from populace.storage.records.durations import Durations


class WorkCounter:
    """The numbers of ``EngineWork`` as they grow. One thread writes each; any may take a snapshot."""

    def __init__(self) -> None:
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.memory_loads = 0
        self.memory_loaded_bytes = 0
        self.memory_refused = 0
        self.finished: Counter[str] = Counter()
        self.queue = Durations()
        self.prefill = Durations()
        self.decode = Durations()
        self.first_token = Durations()
        self.whole = Durations()
        self.between_tokens = Durations()
        self.per_token = Durations()

    def snapshot(self, cache: CacheWork | None = None) -> EngineWork:
        return EngineWork(
            prompt_tokens=self.prompt_tokens,
            generation_tokens=self.generation_tokens,
            # Copied first: another thread may add a reason meanwhile.
            finished=dict(self.finished.copy()),
            queue=self.queue.snapshot(),
            prefill=self.prefill.snapshot(),
            decode=self.decode.snapshot(),
            first_token=self.first_token.snapshot(),
            whole=self.whole.snapshot(),
            between_tokens=self.between_tokens.snapshot(),
            per_token=self.per_token.snapshot(),
            memory_loads=self.memory_loads,
            memory_loaded_bytes=self.memory_loaded_bytes,
            memory_refused=self.memory_refused,
            cache=cache,
        )


class RequestWork:
    """Counts one request from its admission on, for an engine that computes in this process.

    Each call comes before what it counts is delivered, so that who has a reply finds it counted.
    """

    def __init__(self, counter: WorkCounter, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._counter = counter
        self._clock = clock
        self._came_s = clock()
        self._began_s = self._first_s = self._last_s = 0.0
        self._tokens = 0

    def began(self, prompt_tokens: int) -> None:
        """Count the prompt, which is read from now on."""
        self._began_s = self._clock()
        self._counter.prompt_tokens += prompt_tokens
        self._counter.queue.add(self._began_s - self._came_s)

    def advanced(self, finish_reason: str | None) -> None:
        """Count a token, and with a reason the end."""
        counter, now_s = self._counter, self._clock()
        counter.generation_tokens += 1
        self._tokens += 1
        if self._tokens == 1:
            self._first_s = now_s
            counter.prefill.add(now_s - self._began_s)
            counter.first_token.add(now_s - self._came_s)
        else:
            counter.between_tokens.add(now_s - self._last_s)
        self._last_s = now_s
        if finish_reason is None:
            return
        counter.finished[finish_reason] += 1
        counter.decode.add(now_s - self._first_s)
        counter.whole.add(now_s - self._came_s)
        if self._tokens > 1:
            counter.per_token.add((now_s - self._first_s) / (self._tokens - 1))

    @property
    def stages(self) -> Stages:
        """When the request came, began, and had its first and last token; any thread may read it."""
        return Stages(self._came_s, self._began_s, self._first_s, self._last_s)

    def failed(self) -> None:
        """Count an end without a further token."""
        self._counter.finished["error"] += 1
