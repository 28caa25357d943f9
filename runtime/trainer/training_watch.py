"""Follows the steps of a training on the trainer's thread: saves sessions, and stops what is not wanted."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

from populace.learning.session import StepReport
from populace.storage.records.errors import DiskRefused
from populace.trainer.runs import TrainingRun

logger = logging.getLogger(__name__)

SAVE_SECONDS = 60.0
"""At most this many seconds of work are lost if the trainer is killed."""


class TrainingWatch:
    """Called for each step on the trainer's thread. ``trainings`` maps learners' names to them."""

    def __init__(
        self,
        trainings: Mapping[str, TrainingRun],
        save: Callable[[TrainingRun], None],
        stopping: threading.Event,
    ) -> None:
        self.trainings = trainings
        self.gone: set[str] = set()
        self.is_interrupted = False
        self._save = save
        self._stopping = stopping
        self._began_s = time.monotonic()
        self._stepped_s: dict[str, float] = {}

    def stepped(self, name: str, report: StepReport, seconds: float) -> None:
        training, now = self.trainings[name], time.monotonic()
        training.note(report, seconds)
        self._stepped_s[name] = now
        if now - training.saved_at > SAVE_SECONDS:
            training.saved_at = now
            try:
                self._save(training)
            except DiskRefused as error:
                logger.warning("a training is not saved, and goes on: %s", error)

    def goes_on(self, name: str) -> bool:
        return not (self._stopping.is_set() or self.is_interrupted or name in self.gone)

    def times_of(self, name: str) -> tuple[float, float]:
        """Return when the training began here, and when it took its last step, on the monotonic clock."""
        return self._began_s, self._stepped_s.get(name, self._began_s)
