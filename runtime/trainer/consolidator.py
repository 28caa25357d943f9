"""Looks after models that somebody judged: trains one when it is due, takes back what turned out badly."""

import logging

from populace.actors.training import News, TrainingJobs, TrainingOptions
from populace.policies.consolidation import ConsolidationRule, consolidation, training_order
from populace.policies.evaluation_gate import RollbackRule, should_roll_back
from populace.storage.records.errors import PopulaceError

logger = logging.getLogger(__name__)


class Consolidator:
    """``look`` may be called at any time; what it does twice has taken effect once."""

    def __init__(
        self, jobs: TrainingJobs, *, rule: ConsolidationRule, rollback: RollbackRule, trains: bool = True
    ) -> None:
        """Without ``trains`` revisions are only taken back."""
        self._jobs = jobs
        self._rule = rule
        self._rollback = rollback
        self._trains = trains

    async def look(self) -> None:
        """Look at a page of news, and do what follows. What fails for one model is tried at the next look."""
        news = {f"{one.model.tenant}/{one.model.name}": one for one in await self._jobs.news()}
        for name in training_order({name: one.standing for name, one in news.items()}):
            try:
                await self._look_at(news[name])
            except PopulaceError as error:
                logger.info("%s is looked at again: %s", name, error)

    async def _look_at(self, news: News) -> None:
        if news.serving is not None and should_roll_back(news.of_parent, news.of_serving, self._rollback):
            await self._jobs.roll_back(news.model, news.serving)
            logger.info(
                "%s/%s gave %s back: %d of %d replies were liked, of its parent's %d of %d",
                *news.model,
                news.serving[:12],
                news.of_serving.good,
                news.of_serving.total,
                news.of_parent.good,
                news.of_parent.total,
            )
            return
        decision = consolidation(news.standing, self._rule)
        if decision.due and self._trains:
            # One training for each place in the log and its feedback, whoever asks twice.
            key = f"consolidation-{news.standing.position}-{news.given}"
            await self._jobs.ask(news.model, TrainingOptions(), key)
            logger.info("%s/%s is trained: %s", *news.model, decision.reason)
        elif news.standing.judged == 0:
            await self._jobs.settle(news)
