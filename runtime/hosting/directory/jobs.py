"""Training jobs of the whole population: each call goes to the host of its model, as other calls do."""

import secrets
from collections.abc import Sequence

from populace.actors.hosts import ModelView, Revision
from populace.actors.keepers.job_views import newest_first
from populace.actors.reward_tasks import RewardTask
from populace.actors.training import (
    EndState,
    JobProgress,
    KeptTraining,
    OpenJob,
    TrainingJob,
    TrainingJobs,
    UnsettledFeedback,
)
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.hosting.directory.router import Router


class JobDirectory:
    """Implements ``TrainingJobs`` for the whole population."""

    def __init__(self, router: Router) -> None:
        self._router = router

    async def ask(
        self,
        model: ModelId,
        options: TrainingOptions,
        key: str | None = None,
        tasks: Sequence[RewardTask] = (),
        note: str = "",
    ) -> TrainingJob:
        # A generated key makes a request that is repeated after a lost response the same training.
        key = key or secrets.token_hex(16)
        return await self._router.retried(model, TrainingJobs.ask, model, options, key, tuple(tasks), note)

    async def cancel(self, model: ModelId, number: int | None = None) -> TrainingJob:
        return await self._router.retried(model, TrainingJobs.cancel, model, number)

    async def of_model(self, model: ModelId) -> tuple[TrainingJob, ...]:
        return await self._router.retried(model, TrainingJobs.of_model, model)

    async def of_tenant(self, tenant: str, *, limit: int = 100) -> tuple[TrainingJob, ...]:
        pages = await self._router.everywhere(TrainingJobs.of_tenant, tenant, limit=limit)
        return newest_first([job for page in pages for job in page])[:limit]

    async def open_jobs(self) -> tuple[OpenJob, ...]:
        pages = await self._router.everywhere(TrainingJobs.open_jobs)
        found = (open_job for page in pages for open_job in page)
        return tuple(sorted(found, key=lambda open_job: (open_job.job.created_ms, open_job.job.model)))

    async def kept(self) -> tuple[KeptTraining, ...]:
        pages = await self._router.everywhere(TrainingJobs.kept)
        return tuple(kept for page in pages for kept in page)

    async def let_go(self, kept: KeptTraining) -> None:
        await self._router.retried(kept.model, TrainingJobs.let_go, kept)

    async def unsettled(self, *, limit: int = 256) -> tuple[UnsettledFeedback, ...]:
        pages = await self._router.everywhere(TrainingJobs.unsettled, limit=limit)
        return tuple(feedback for page in pages for feedback in page)

    async def settle(self, unsettled: UnsettledFeedback) -> None:
        await self._router.retried(unsettled.model, TrainingJobs.settle, unsettled)

    async def start(self, model: ModelId, number: int) -> TrainingJob:
        return await self._router.retried(model, TrainingJobs.start, model, number)

    async def tasks(self, model: ModelId, number: int) -> tuple[RewardTask, ...]:
        return await self._router.retried(model, TrainingJobs.tasks, model, number)

    async def report(self, model: ModelId, number: int, progress: JobProgress) -> None:
        await self._router.retried(model, TrainingJobs.report, model, number, progress)

    async def end(self, model: ModelId, number: int, state: EndState, reason: str) -> TrainingJob:
        return await self._router.retried(model, TrainingJobs.end, model, number, state, reason)

    async def finish(
        self, model: ModelId, number: int, revision: Revision, progress: JobProgress
    ) -> TrainingJob:
        return await self._router.retried(model, TrainingJobs.finish, model, number, revision, progress)

    async def roll_back(self, model: ModelId, revision: str) -> ModelView:
        return await self._router.retried(model, TrainingJobs.roll_back, model, revision)
