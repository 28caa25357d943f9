"""The way of ended spans to their exporter, on a thread: no request waits for a disk or a collector.

The SDK's own batch processor counts what it drops where only its own metrics see it, and waits half a minute
for a dead collector at the end of a process.
"""

import logging
import threading
import time
from collections import deque

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

logger = logging.getLogger(__name__)

QUEUED_MAX = 2048
"""Spans that may wait for a slow exporter; further ones are dropped and counted."""
BATCH_MAX = 512
BATCH_SECONDS = 0.5
"""How long a span waits for others before it is exported."""
CLOSE_SECONDS_MAX = 2.0
"""How long the end of a process waits for the exporter; what is left then is dropped."""
LAST_SECONDS_MAX = 0.5
"""How long it waits for an exporter that was told to stop."""
NOTICE_SECONDS = 60.0
"""Time between two warnings of dropped spans."""


class ExportQueue:
    """Exports spans in batches, in the order in which they ended. ``put`` may be called from any thread.

    It never raises nor waits, whatever the exporter does.
    """

    def __init__(
        self, exporter: SpanExporter, *, queued_max: int = QUEUED_MAX, batch_seconds: float = BATCH_SECONDS
    ) -> None:
        self._exporter = exporter
        self._queued_max = queued_max
        self._batch_seconds = batch_seconds
        self._queue: deque[ReadableSpan] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self.dropped = 0
        """Spans that were not exported: too many were open or queued, or the exporter failed."""
        self._told = 0
        self._noticed_at = -NOTICE_SECONDS
        self._thread = threading.Thread(target=self._run, name="populace-traces", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        return len(self._queue)

    def put(self, span: ReadableSpan) -> None:
        with self._changed:
            if self._closing or len(self._queue) >= self._queued_max:
                self.dropped += 1
                return
            self._queue.append(span)
            if len(self._queue) in (1, BATCH_MAX):
                self._changed.notify()

    def count_dropped(self, spans: int) -> None:
        """Count spans that were given up before they came here."""
        with self._changed:
            self.dropped += spans

    def close(self, seconds_max: float = CLOSE_SECONDS_MAX) -> None:
        """Export what waits, for ``seconds_max`` at most, and end. Safe to call twice."""
        with self._changed:
            if self._closing:
                return
            self._closing = True
            self._changed.notify()
        self._thread.join(seconds_max)
        with self._changed:
            self.dropped += len(self._queue)
            self._queue.clear()
        # Wakes an exporter that waits to try again; the thread then finds nothing left.
        self._exporter.shutdown()
        self._thread.join(LAST_SECONDS_MAX)

    def _run(self) -> None:
        while batch := self._next_batch():
            if not self._is_exported(batch):
                with self._changed:
                    self.dropped += len(batch)
            self._notice()

    def _next_batch(self) -> list[ReadableSpan]:
        """Wait for spans and take them; none when closed and drained."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            self._changed.wait_for(
                lambda: len(self._queue) >= BATCH_MAX or self._closing, self._batch_seconds
            )
            return [self._queue.popleft() for _ in range(min(BATCH_MAX, len(self._queue)))]

    def _is_exported(self, batch: list[ReadableSpan]) -> bool:
        try:
            return self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception as error:
            # Whatever it is: no trace is worth the thread that exports it.
            logger.debug("spans could not be exported: %s", error)
            return False

    def _notice(self) -> None:
        now = time.monotonic()
        if self.dropped == self._told or now - self._noticed_at < NOTICE_SECONDS:
            return
        dropped, self._told, self._noticed_at = self.dropped - self._told, self.dropped, now
        logger.warning(
            "%d spans of traces were dropped: their collector, or the disk, does not take them, "
            "or too many requests are open",
            dropped,
        )
