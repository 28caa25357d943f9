"""Training jobs of the whole population: each call goes to the host of its model, as other calls do."""

import secrets
from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from populace.actors.hosts import ModelView, Revision
from populace.actors.keepers.job_keeper import newest_first
from populace.actors.reward_tasks import RewardTask
from populace.actors.training import EndState, JobProgress, OpenJob, TrainingJob, UnsettledFeedback
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId


class Router(Protocol):
    """The routing of ``Directory``, which every call uses. Results are returned as the hosts return them."""

    def retried(self, model: ModelId, name: str, *args: Any, **options: Any) -> Coroutine[Any, Any, Any]: ...

    async def everywhere(self, name: str, *args: Any, **options: Any) -> list[Any]: ...


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
    ) -> TrainingJob:
        # A generated key makes a request that is repeated after a lost response the same training.
        key = key or secrets.token_hex(16)
        return await self._router.retried(model, "jobs.ask", model, options, key, tuple(tasks))

    async def cancel(self, model: ModelId) -> TrainingJob:
        return await self._router.retried(model, "jobs.cancel", model)

    async def of_model(self, model: ModelId) -> tuple[TrainingJob, ...]:
        return await self._router.retried(model, "jobs.of_model", model)

    async def of_tenant(self, tenant: str, *, limit: int = 100) -> tuple[TrainingJob, ...]:
        pages: list[tuple[TrainingJob, ...]] = await self._router.everywhere(
            "jobs.of_tenant", tenant, limit=limit
        )
        return newest_first([job for page in pages for job in page])[:limit]

    async def open_jobs(self) -> tuple[OpenJob, ...]:
        pages: list[tuple[OpenJob, ...]] = await self._router.everywhere("jobs.open_jobs")
        found = (open_job for page in pages for open_job in page)
        return tuple(sorted(found, key=lambda open_job: (open_job.job.created_ms, open_job.job.model)))

    async def unsettled(self, *, limit: int = 256) -> tuple[UnsettledFeedback, ...]:
        pages: list[tuple[UnsettledFeedback, ...]] = await self._router.everywhere(
            "jobs.unsettled", limit=limit
        )
        return tuple(feedback for page in pages for feedback in page)

    async def settle(self, unsettled: UnsettledFeedback) -> None:
        await self._router.retried(unsettled.model, "jobs.settle", unsettled)

    async def start(self, model: ModelId, number: int) -> TrainingJob:
        return await self._router.retried(model, "jobs.start", model, number)

    async def tasks(self, model: ModelId, number: int) -> tuple[RewardTask, ...]:
        return await self._router.retried(model, "jobs.tasks", model, number)

    async def report(self, model: ModelId, number: int, progress: JobProgress) -> None:
        await self._router.retried(model, "jobs.report", model, number, progress)

    async def end(self, model: ModelId, number: int, state: EndState, reason: str) -> TrainingJob:
        return await self._router.retried(model, "jobs.end", model, number, state, reason)

    async def finish(
        self, model: ModelId, number: int, revision: Revision, progress: JobProgress
    ) -> TrainingJob:
        return await self._router.retried(model, "jobs.finish", model, number, revision, progress)

    async def roll_back(self, model: ModelId, revision: str) -> ModelView:
        return await self._router.retried(model, "jobs.roll_back", model, revision)
