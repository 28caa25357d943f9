"""A model that enough was thought of is trained by itself; a revision that turned out badly is taken back."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from populace.actors.feedback import Opinion
from populace.actors.host.model_host import ModelHost
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.policies.consolidation import ConsolidationRule
from populace.policies.evaluation_gate import RollbackRule
from populace.policies.hold_out import is_held_out
from populace.storage.store import Store
from populace.trainer.actor import Consolidator
from tests.actors.fakes import BASE, FakeClock
from tests.actors.trainings import DONE, trained
from tests.actors.turns import grant_of, reply, take_turn, turn_of

ADA = ModelId("acme", "ada")
RULE = ConsolidationRule(interactions_min=8, judged_min=3, held_out_min=2, idle_seconds_min=60.0)
ROLLBACK = RollbackRule(judged_min=5)
UP, DOWN = Opinion(thumb=True), Opinion(thumb=False)
HELD_OUT = [at for at in range(24) if is_held_out(at)]
TAUGHT = [at for at in range(24) if not is_held_out(at)]


class Looked:
    """A host with one model, and a consolidator that looks at it."""

    def __init__(self, store: Store) -> None:
        self.clock = FakeClock()
        self.host = ModelHost("host-0", store, range(store.shards), base=BASE.fingerprint, clock=self.clock)
        self.turns = 0
        self.trains = True

    async def talk(self, turns: int) -> None:
        for _ in range(turns):
            await take_turn(self.host, turn_of(ADA, f"op-{self.turns}"))
            self.turns += 1

    async def say(self, *said: str) -> None:
        for text in said:
            grant = await grant_of(self.host, turn_of(ADA, f"op-{self.turns}"))
            await self.host.finish_turn(grant, reply("I see.", asked=text))
            self.turns += 1

    async def judge(self, positions: list[int], opinion: Opinion) -> None:
        for position in positions:
            await self.host.give_feedback(ADA, position, opinion)

    async def look(self) -> int:
        """Look twice, as one who has forgotten; answers how many jobs there are."""
        for _ in range(2):
            looking = Consolidator(self.host.jobs, rule=RULE, rollback=ROLLBACK, trains=self.trains)
            await looking.look()
        return len(await self.host.jobs.of_model(ADA))


@pytest.fixture
async def looked(tmp_path: Path) -> AsyncGenerator[Looked]:
    made = Looked(Store.create_or_open(tmp_path / "store", 2))
    await made.host.create_model(ADA)
    await made.talk(24)
    yield made
    made.host.close()


async def test_a_model_is_trained_once_when_enough_was_thought_of_it_and_nobody_talks(looked: Looked) -> None:
    assert await looked.look() == 0, "nobody thought anything"
    await looked.judge(HELD_OUT[:2] + TAUGHT[:3], UP)
    assert await looked.look() == 0, "somebody talks"

    looked.clock.advance(61)

    assert await looked.look() == 1
    [job] = await looked.host.jobs.of_model(ADA)
    assert (job.state, job.options) == ("waiting", TrainingOptions())


TOLD = (
    "My dog is called Bruno.",
    "My locker code is 4711.",
    "My sister lives in Oslo.",
    "I keep my bike in the cellar.",
)
ASKED = (
    "What is my dog called?",
    "What is my locker code?",
    "Where does my sister live?",
    "Where do I keep my bike?",
)


@pytest.mark.parametrize(("told", "jobs"), [(4, 1), (3, 0)])
async def test_who_only_talks_is_trained_once_enough_was_asked_again(
    looked: Looked, told: int, jobs: int
) -> None:
    await looked.say(*TOLD[:told], *ASKED, *ASKED)
    assert await looked.look() == 0, "somebody talks"

    looked.clock.advance(61)

    assert await looked.look() == jobs
    if not jobs:
        assert await looked.host.jobs.unsettled() == (), "only more talk could change that"


async def test_what_was_asked_again_and_not_taken_is_not_asked_of_the_trainer_at_once(looked: Looked) -> None:
    await looked.say(*TOLD, *ASKED, *ASKED)
    looked.clock.advance(61)
    assert await looked.look() == 1
    await looked.host.jobs.cancel(ADA)
    assert await looked.look() == 1

    await looked.talk(16)
    looked.clock.advance(61)

    assert await looked.look() == 2


async def test_a_training_that_somebody_cancelled_is_not_asked_for_again_at_once(looked: Looked) -> None:
    await looked.judge(HELD_OUT[:2] + TAUGHT[:9], UP)
    looked.clock.advance(61)
    assert await looked.look() == 1

    await looked.host.jobs.cancel(ADA)

    assert await looked.look() == 1
    await looked.talk(8)
    await looked.judge([24, 25, 26, 27], UP)
    looked.clock.advance(61)
    assert await looked.look() == 2, "but when there is more to learn"


async def test_a_model_that_nothing_held_out_judges_is_not_trained(looked: Looked) -> None:
    await looked.judge(TAUGHT[:9], UP)
    looked.clock.advance(61)
    assert await looked.look() == 0

    await looked.judge(HELD_OUT[:2], UP)
    assert await looked.look() == 1


async def test_who_shall_not_train_does_not(looked: Looked) -> None:
    looked.trains = False
    await looked.judge(HELD_OUT + TAUGHT, UP)
    looked.clock.advance(61)

    assert await looked.look() == 0


async def train(looked: Looked) -> str:
    """Train the model as a trainer would; answers the digest of what serves then."""
    looked.clock.advance(1)
    job = await looked.host.jobs.ask(ADA, TrainingOptions())
    made = trained(await looked.host.jobs.start(ADA, job.number))
    assert (await looked.host.jobs.finish(ADA, job.number, made, DONE)).state == "promoted"
    return made.digest


@pytest.mark.parametrize(("liked", "stays"), [(5, True), (4, True), (2, False), (0, False)])
async def test_a_revision_whose_replies_are_liked_less_than_its_parents_is_taken_back(
    looked: Looked, liked: int, stays: bool
) -> None:
    await looked.judge(list(range(8)), UP)
    digest = await train(looked)
    await looked.talk(5)
    await looked.judge(list(range(24, 24 + liked)), UP)
    await looked.judge(list(range(24 + liked, 29)), DOWN)

    jobs = await looked.look()

    served = (await looked.host.show_model(ADA)).aliases.get("latest")
    assert (served == digest) == stays
    assert jobs == 1, "the log that gave it would give it again"


async def test_what_was_looked_at_and_says_nothing_more_is_not_looked_at_again(looked: Looked) -> None:
    await looked.judge([0], UP)
    await train(looked)
    await looked.judge([1], UP)
    assert [one.model for one in await looked.host.jobs.unsettled()] == [ADA]

    await looked.look()

    assert await looked.host.jobs.unsettled() == ()
