"""Looks after models with news: trains one when it is due, and rolls back a bad revision."""

import logging

from populace.actors.training import TrainingJobs, UnsettledFeedback
from populace.actors.training_options import TrainingOptions
from populace.policies.consolidation import ConsolidationRule, consolidation, training_order
from populace.policies.evaluation_gate import RollbackRule, should_roll_back
from populace.storage.records.errors import PopulaceError

logger = logging.getLogger(__name__)


class Consolidator:
    """Decides on trainings and rollbacks. ``look`` may be called at any time; repeating it has no effect."""

    def __init__(
        self, jobs: TrainingJobs, *, rule: ConsolidationRule, rollback: RollbackRule, trains: bool = True
    ) -> None:
        """Make a consolidator; without ``trains`` it only rolls revisions back."""
        self._jobs = jobs
        self._rule = rule
        self._rollback = rollback
        self._trains = trains

    async def look(self) -> None:
        """Act on a page of unsettled feedback; a model for which this fails is retried later."""
        found = {
            f"{feedback.model.tenant}/{feedback.model.name}": feedback
            for feedback in await self._jobs.unsettled()
        }
        for name in training_order({name: feedback.standing for name, feedback in found.items()}):
            try:
                await self._look_at(found[name])
            except PopulaceError as error:
                logger.info("%s is looked at again: %s", found[name].model, error)

    async def _look_at(self, found: UnsettledFeedback) -> None:
        if found.serving is not None and should_roll_back(found.of_parent, found.of_serving, self._rollback):
            await self._jobs.roll_back(found.model, found.serving)
            logger.info(
                "%s gave %s back: %d of %d replies were liked, of its parent's %d of %d",
                found.model,
                found.serving[:12],
                found.of_serving.good,
                found.of_serving.total,
                found.of_parent.good,
                found.of_parent.total,
            )
            return
        decision = consolidation(found.standing, self._rule)
        if decision.due and self._trains:
            # The key allows one training for each log position and amount of feedback.
            key = f"consolidation-{found.standing.position}-{found.given}"
            await self._jobs.ask(found.model, TrainingOptions(), key)
            logger.info("%s is trained: %s", found.model, decision.reason)
        elif found.standing.judged == 0 and not (decision.due or decision.waits):
            await self._jobs.settle(found)
