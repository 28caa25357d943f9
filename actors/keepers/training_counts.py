"""Counts what the trainer reports of its jobs, on the host that writes it down."""

import contextlib
from collections import Counter
from collections.abc import Awaitable

from populace.actors.clock import Clock
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.training import JobProgress
from populace.actors.training_statistics import TrainingStatistics
from populace.storage.records.errors import StorageError
from populace.storage.records.records import JobRecord
from populace.storage.records.transaction import ReadTransaction
from populace.storage.rows.jobs import ENDED_STATES, walk_open_jobs


class TrainingCounts:
    """The numbers of ``TrainingStatistics`` since this host started. A repeated call counts once."""

    def __init__(self, shards: OwnedShards, *, clock: Clock) -> None:
        self._shards = shards
        self._clock = clock
        self._ended: Counter[str] = Counter()
        self._steps = 0
        self._tokens = 0
        self._stepped_ms: int | None = None
        self._finished_ms: int | None = None

    def progressed(self, before: JobRecord, progress: JobProgress) -> None:
        """Count what was done since the job was as in ``before``; a trainer may begin again with less."""
        steps = max(0, progress.step - before.step)
        self._steps += steps
        self._tokens += max(0, progress.tokens - before.tokens)
        if steps:
            self._stepped_ms = self._clock.epoch_ms()

    async def ended(self, write: Awaitable[JobRecord]) -> JobRecord:
        """Wait for a write that may end a job, and count the end unless an earlier call made it."""
        asked_ms = self._clock.epoch_ms()
        record = await write
        if record.state in ENDED_STATES and record.ended_ms is not None and record.ended_ms >= asked_ms:
            self.note(record.state)
        return record

    def note(self, state: str) -> None:
        """Count an end in this state."""
        self._ended[state] += 1
        self._finished_ms = self._clock.epoch_ms()

    async def statistics(self) -> TrainingStatistics:
        """Return the counts, and the open jobs; those of a shard that does not serve now are left out."""
        open_jobs: Counter[str] = Counter()
        for number in self._shards.numbers:
            with contextlib.suppress(StorageError):
                open_jobs.update(await self._shards.read_on_thread(number, _open_states))
        return TrainingStatistics(
            open=dict(open_jobs),
            ended=dict(self._ended),
            steps=self._steps,
            tokens=self._tokens,
            stepped_ms=self._stepped_ms,
            finished_ms=self._finished_ms,
        )


def _open_states(txn: ReadTransaction) -> list[str]:
    return [record.state for *_, record in walk_open_jobs(txn)]
