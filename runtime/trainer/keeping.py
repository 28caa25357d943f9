"""Keeps the trainings of promoted revisions within a budget of bytes, and removes the files of all others.

A session's file stays where it is when its job ends in a promoted revision: the row of the kept training, put
with the promotion, has its key from then on. A trainer that is killed on the way leaves the file of an open
job, or a kept one, or one that no row names, which the next sweep removes.
"""

import asyncio
import logging
from collections.abc import Sequence

from populace.actors.training import KeptTraining, TrainingJob, TrainingJobs
from populace.storage.records.errors import PopulaceError, ShardUnavailable
from populace.storage.training.sessions import SessionFiles

logger = logging.getLogger(__name__)


class KeptSessions:
    """The kept trainings of one population. One trainer uses it, and writes no session while it sweeps."""

    def __init__(self, jobs: TrainingJobs, files: SessionFiles, *, bytes_max: int) -> None:
        """``bytes_max`` is the most that all kept trainings take together; 0 keeps none."""
        self._jobs = jobs
        self._files = files
        self._bytes_max = bytes_max

    @property
    def keeps(self) -> bool:
        return self._bytes_max > 0

    async def read(self, job: TrainingJob, revision: str | None) -> bytes | None:
        """Return the kept training of the model's revision, None if there is none. It counts as a use.

        Raises ``RecordInvalid`` and ``DiskRefused``.
        """
        if revision is None:
            return None
        try:
            found = await self._jobs.kept()
        except ShardUnavailable as error:
            logger.warning(
                "%s begins without its kept training, which cannot be looked for: %s", job.model, error
            )
            return None
        keys = [kept.key for kept in found if (kept.model, kept.revision) == (job.model, revision)]
        return await asyncio.to_thread(self._files.use, keys[0]) if keys else None

    async def sweep(self) -> None:
        """Remove what no job and no revision can be continued from, and then what is over the budget."""
        try:
            # In this order: a job that ends meanwhile is found as open, as kept, or as both.
            opened = [open_job.session_key for open_job in await self._jobs.open_jobs(whole=True)]
            kept = await self._jobs.kept()
        except ShardUnavailable as error:
            logger.info("trainings that nothing goes on from stay, as some may be of what is away: %s", error)
            return
        for gone in await asyncio.to_thread(self._swept, opened, kept):
            try:
                await self._jobs.let_go(gone)
            except PopulaceError as error:
                logger.info("a kept training of %s is let go later: %s", gone.model, error)

    def _swept(self, opened: Sequence[bytes], kept: Sequence[KeptTraining]) -> list[KeptTraining]:
        """Sweep and trim; return the kept trainings whose files are gone."""
        keys = [one.key for one in kept]
        self._files.sweep([*opened, *keys])
        self._files.trim(keys, self._bytes_max)
        return [one for one in kept if not self._files.has(one.key)]
