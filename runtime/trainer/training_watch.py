"""Follows trainings on the trainer's thread: saves sessions, and stops what is no longer wanted."""

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager

from populace.actors.errors import TrainingFailed
from populace.actors.training import TrainingJob, TrainingJobs
from populace.learning.session import StepReport
from populace.learning.trainer import Candidate, Trainer, TrainerProgress
from populace.learning.wanted_work import only_while
from populace.policies.training_shares import TrainingShares
from populace.storage.records.errors import DiskRefused, PopulaceError
from populace.storage.records.named import Named
from populace.trainer.runs import TrainingRun

logger = logging.getLogger(__name__)

SAVE_SECONDS = 60.0
"""At most this many seconds of work are lost if the trainer is killed."""

LOOK_SECONDS = 1.0
"""Time between two looks at whether a job that is prepared is still open."""


class TrainingWatch(TrainerProgress):
    """Called for each step on the trainer's thread. ``trainings`` maps learners' names to them."""

    def __init__(
        self,
        trainings: Mapping[str, TrainingRun],
        save: Callable[[TrainingRun], None],
        shares: TrainingShares,
        stopping: threading.Event,
    ) -> None:
        self.trainings = trainings
        self._shares = shares
        shares.train(self._tenant(name) for name in trainings)
        self.gone: set[str] = set()
        self.is_interrupted = False
        self._save = save
        self._stopping = stopping
        self._began_s = time.monotonic()
        self._stepped_s: dict[str, float] = {}

    def stepped(self, name: str, report: StepReport, seconds: float) -> None:
        training, now = self.trainings[name], time.monotonic()
        training.note(report, seconds)
        self._shares.charge(self._tenant(name), seconds)
        self._stepped_s[name] = now
        if now - training.saved_at > SAVE_SECONDS:
            training.saved_at = now
            try:
                self._save(training)
            except DiskRefused as error:
                logger.warning("a training is not saved, and goes on: %s", error)

    def goes_on(self, name: str) -> bool:
        return self.is_wanted(name) and not self.is_interrupted

    def is_wanted(self, name: str) -> bool:
        return not (self._stopping.is_set() or name in self.gone)

    def due(self, names: Collection[str]) -> Collection[str]:
        tenants = self._shares.due(self._tenant(name) for name in names)
        return [name for name in names if self._tenant(name) in tenants]

    def ended(self, name: str) -> None:
        """What has ended is judged and promoted now: the others take their next steps after that."""
        self.is_interrupted = True

    def _tenant(self, name: str) -> str:
        return self.trainings[name].job.model.tenant

    def times_of(self, name: str) -> tuple[float, float]:
        """Return when the training began here, and when it took its last step, on the monotonic clock."""
        return self._began_s, self._stepped_s.get(name, self._began_s)


def train_all(trainer: Trainer, watch: TrainingWatch) -> dict[str, Candidate | TrainingFailed]:
    """Train all together; after an unexpected error train each alone, so that only the cause fails."""
    learners = [training.learner for training in watch.trainings.values()]
    try:
        return dict(trainer.train(learners, watch))
    except Exception:
        logger.exception("training %d people together failed unexpectedly", len(learners))
    outcomes: dict[str, Candidate | TrainingFailed] = {}
    for learner in learners:
        try:
            outcomes |= trainer.train([learner], watch)
        except Exception as error:
            logger.exception("the training of %s failed unexpectedly", Named(learner.name))
            outcomes[learner.name] = TrainingFailed(learner.name, unexpected(error))
    return outcomes


def unexpected(error: Exception) -> str:
    """Say that the trainer failed by a bug of ours."""
    return f"the trainer failed unexpectedly ({type(error).__name__}); its log has the details"


@asynccontextmanager
async def while_open(
    jobs: TrainingJobs, job: TrainingJob, stopping: threading.Event
) -> AsyncGenerator[None, None]:
    """Work of the block on threads ends as ``TrainingStopped`` soon after the job ended, or this stops."""
    ended = threading.Event()
    watching = asyncio.create_task(_note_end(jobs, job, ended))
    try:
        with only_while(lambda: not (ended.is_set() or stopping.is_set()), job.model.name):
            yield
    finally:
        watching.cancel()


async def _note_end(jobs: TrainingJobs, job: TrainingJob, ended: threading.Event) -> None:
    while not ended.is_set():
        await asyncio.sleep(LOOK_SECONDS)
        try:
            found = [open_job.job for open_job in await jobs.open_jobs()]
        except PopulaceError as error:
            logger.info("whether the training of %s is still wanted is seen later: %s", job.model, error)
        else:
            if all((one.model, one.number) != (job.model, job.number) for one in found):
                ended.set()
