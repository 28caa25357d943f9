"""A training is asked for, worked on, and ends in a revision or as what it was, on every kind of host."""

from dataclasses import replace

import pytest

from populace.actors.engine import AdapterRef, Message
from populace.actors.errors import EngineUnavailable, InvalidRequest, TrainingUnavailable
from populace.actors.feedback import Opinion
from populace.actors.host.model_host import ModelHost
from populace.actors.host_limits import HostLimits
from populace.actors.hosts import Revision
from populace.actors.reward_tasks import RewardTask
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId
from populace.hosting.directory.directory import Directory
from populace.policies.evaluation_gate import Judged
from populace.policies.hold_out import is_held_out
from populace.storage.records.errors import ModelNotFound, OperationConflict, RevisionNotFound
from populace.storage.training.errors import JobEnded, JobNotFound, TrainingUnderWay
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock, ScriptedEngine, spoken
from tests.actors.populations import IN_ONE_PROCESS
from tests.actors.trainings import DONE, trained
from tests.actors.turns import grant_of, message, reply, revision, take_turn, turn_of

UP, DOWN = Opinion(thumb=True), Opinion(thumb=False)
OLD = revision("old")


@pytest.fixture
async def ada(hosts: Directory, tenant: str) -> ModelId:
    """A model of three turns with an adapter."""
    model = (await hosts.create_model(ModelId(tenant, "ada"), OLD)).model
    for number in range(3):
        await take_turn(hosts, turn_of(model, f"op-{number}"))
    return model


async def started(hosts: Directory, model: ModelId, key: str = "train-1") -> TrainingJob:
    asked = await hosts.jobs.ask(model, TrainingOptions(), key)
    return await hosts.jobs.start(model, asked.number)


async def promote(hosts: Directory, model: ModelId, seed: str = "new", key: str = "train-1") -> Revision:
    job = await started(hosts, model, key)
    made = trained(job, seed)
    assert (await hosts.jobs.finish(model, job.number, made, DONE)).state == "promoted"
    return made


async def test_a_training_does_not_take_the_newest_turn_if_it_may_still_be_answered(
    hosts: Directory, ada: ModelId
) -> None:
    grant = await grant_of(hosts, turn_of(ada, "op-lost"))
    await hosts.abandon_turn(await hosts.accept_turn(grant, message()), "its reader left")
    assert (await hosts.show_model(ada)).log_position == 4

    assert (await started(hosts, ada, "train-1")).log_range == (0, 3)


async def test_a_training_begins_with_all_that_was_said_and_ends_with_a_revision_that_answers(
    hosts: Directory, ada: ModelId
) -> None:
    job = await hosts.jobs.ask(ada, TrainingOptions(rank=4))
    assert (job.state, job.number, job.log_range) == ("waiting", 0, None)
    assert job in [one.job for one in await hosts.jobs.open_jobs()]

    running = await hosts.jobs.start(ada, 0)
    assert (running.state, running.log_range, running.parent) == ("running", (0, 3), OLD.digest)
    await take_turn(hosts, turn_of(ada, "op-meanwhile"))
    assert await hosts.jobs.start(ada, 0) == running, "what it learns from is fixed"
    await hosts.jobs.report(ada, 0, DONE._replace(step=2))
    [reported] = await hosts.jobs.of_model(ada)
    assert reported.progress == DONE._replace(step=2)

    made = trained(running)
    ended = await hosts.jobs.finish(ada, 0, made, DONE)

    assert (ended.state, ended.candidate, ended.progress) == ("promoted", made.digest, DONE)
    assert ada not in [one.job.model for one in await hosts.jobs.open_jobs()]
    view = await hosts.show_model(ada)
    assert (view.cursor, view.aliases) == (3, {"latest": made.digest})
    assert (await take_turn(hosts, turn_of(ada, "op-after"))).revision == made.digest
    assert (await hosts.list_revisions(ada))[-1] == replace(made, readiness="ready")
    again = await hosts.jobs.finish(ada, 0, made, DONE)
    assert replace(again, ended_ms=ended.ended_ms) == ended


@IN_ONE_PROCESS
async def test_a_candidate_with_objections_is_kept_and_its_parent_answers_on(
    hosts: Directory, ada: ModelId
) -> None:
    job = await started(hosts, ada)

    ended = await hosts.jobs.finish(ada, job.number, trained(job, "new", "it is worse", "and odd"), DONE)

    assert (ended.state, ended.reason) == ("rejected", "it is worse; and odd")
    assert await hosts.jobs.of_model(ada) == (ended,)
    assert (await take_turn(hosts, turn_of(ada, "op-after"))).revision == OLD.digest
    assert (await hosts.show_model(ada)).cursor == 0
    kept = (await hosts.list_revisions(ada))[-1]
    assert kept.lineage is not None
    assert (kept.readiness, kept.lineage.objections) == ("registered", ("it is worse", "and odd"))


async def test_one_training_at_a_time_and_a_retry_asks_for_the_same(hosts: Directory, ada: ModelId) -> None:
    job = await hosts.jobs.ask(ada, TrainingOptions(), "key-1")

    assert await hosts.jobs.ask(ada, TrainingOptions(), "key-1") == job
    with pytest.raises(OperationConflict):
        await hosts.jobs.ask(ada, TrainingOptions(rank=2), "key-1")
    with pytest.raises(TrainingUnderWay) as refusal:
        await hosts.jobs.ask(ada, TrainingOptions(), "key-2")
    assert refusal.value.number == job.number


async def test_who_works_on_a_job_that_was_cancelled_is_told(hosts: Directory, ada: ModelId) -> None:
    job = await started(hosts, ada)

    cancelled = await hosts.jobs.cancel(ada)

    assert (cancelled.state, cancelled.number) == ("cancelled", job.number)
    for call in (
        hosts.jobs.report(ada, job.number, DONE),
        hosts.jobs.finish(ada, job.number, trained(job), DONE),
        hosts.jobs.end(ada, job.number, "failed", "its own fault"),
        hosts.jobs.start(ada, job.number),
    ):
        with pytest.raises(JobEnded):
            await call
    with pytest.raises(JobNotFound):
        await hosts.jobs.cancel(ada)
    with pytest.raises(JobNotFound):
        await hosts.jobs.start(ada, 17)
    assert len(await hosts.list_revisions(ada)) == 1


@IN_ONE_PROCESS
async def test_who_cancels_a_job_by_its_number_cancels_no_later_one(hosts: Directory, ada: ModelId) -> None:
    job = await started(hosts, ada)
    await hosts.jobs.end(ada, job.number, "failed", "its own fault")
    later = await hosts.jobs.ask(ada, TrainingOptions())

    with pytest.raises(JobEnded) as refusal:
        await hosts.jobs.cancel(ada, job.number)
    with pytest.raises(JobNotFound):
        await hosts.jobs.cancel(ada, 17)

    assert (refusal.value.number, refusal.value.state) == (job.number, "failed")
    assert [one.state for one in await hosts.jobs.of_model(ada)] == ["waiting", "failed"]
    cancelled = await hosts.jobs.cancel(ada, later.number)
    assert (cancelled.state, cancelled) == ("cancelled", await hosts.jobs.cancel(ada, later.number))


async def test_a_job_ends_by_name_and_may_be_ended_again(hosts: Directory, ada: ModelId) -> None:
    job = await started(hosts, ada)

    ended = await hosts.jobs.end(ada, job.number, "skipped", "nothing to learn")

    assert (ended.state, ended.reason) == ("skipped", "nothing to learn")
    assert await hosts.jobs.end(ada, job.number, "skipped", "nothing to learn") == ended
    assert (await hosts.show_model(ada)).cursor == 0


@pytest.mark.parametrize(
    ("options", "parameter"),
    [
        (TrainingOptions(rank=0), "rank"),
        (TrainingOptions(learning_rate=float("nan")), "learning_rate"),
        (TrainingOptions(learning_rate=0.0), "learning_rate"),
        (TrainingOptions(epochs=float("inf")), "epochs"),
        (TrainingOptions(steps=0), "steps"),
        (TrainingOptions(batch=0), "batch"),
        (TrainingOptions(seed=-1), "seed"),
        (TrainingOptions(method="osmosis"), "method"),  # type: ignore[arg-type]
        (TrainingOptions(start="anywhere"), "start"),  # type: ignore[arg-type]
        (TrainingOptions(method="thumbs", unjudged=True), "unjudged"),
        (TrainingOptions(alpha=0.0), "alpha"),
        (TrainingOptions(targets="q_proj,"), "targets"),
        (TrainingOptions(replies=0), "replies"),
        (TrainingOptions(method="preference", retrieve=2), "retrieve"),
        (TrainingOptions(method="rl"), "reward"),
        (TrainingOptions(reward="number"), "reward"),
        (TrainingOptions(method="rl", reward="number"), "tasks"),
        (TrainingOptions(method="thumbs", training_file="file-1"), "training_file"),
        (TrainingOptions(validation_file="file-1"), "validation_file"),
        (TrainingOptions(beta=0.2), "beta"),
        (TrainingOptions(method="preference", beta=0.0), "beta"),
    ],
)
@IN_ONE_PROCESS
async def test_options_that_nobody_can_mean_are_refused_by_name(
    hosts: Directory, ada: ModelId, options: TrainingOptions, parameter: str
) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        await hosts.jobs.ask(ada, options)

    assert refusal.value.parameter == parameter
    assert await hosts.jobs.of_model(ada) == ()


SUM = RewardTask((Message("user", "What is 3 + 4?"),), {"answer": 7})
SUMS = [SUM] * 16
REWARDED = TrainingOptions(method="rl", reward="number")


async def test_tasks_come_with_a_job_that_learns_from_them_and_with_no_other(
    hosts: Directory, ada: ModelId
) -> None:
    with pytest.raises(InvalidRequest, match="Only rl has `tasks`"):
        await hosts.jobs.ask(ada, TrainingOptions(), tasks=SUMS)

    job = await hosts.jobs.ask(ada, REWARDED, "key-1", SUMS)

    assert await hosts.jobs.tasks(ada, job.number) == (SUM,) * 16
    assert await hosts.jobs.ask(ada, REWARDED, "key-1", SUMS) == job
    with pytest.raises(OperationConflict):
        await hosts.jobs.ask(ada, REWARDED, "key-1", [*SUMS, SUM])
    await hosts.jobs.cancel(ada)
    with pytest.raises(JobEnded):
        await hosts.jobs.tasks(ada, job.number)


@pytest.mark.parametrize("count", [1, 15])
async def test_tasks_of_which_too_few_would_judge_are_refused_with_how_many_are_enough(
    hosts: Directory, ada: ModelId, count: int
) -> None:
    with pytest.raises(InvalidRequest, match=rf"^{count} tasks are too few .* Send 16 or more") as refusal:
        await hosts.jobs.ask(ada, REWARDED, tasks=SUMS[:count])

    assert refusal.value.parameter == "tasks"
    assert await hosts.jobs.of_model(ada) == ()


async def test_a_reward_that_there_is_not_is_refused_with_those_that_there_are(
    make_host: MakeHost,
) -> None:
    host = make_host(limits=HostLimits(rewards=frozenset({"number", "of a package"})))
    ada = ModelId("acme", "ada")
    await host.create_model(ada)

    with pytest.raises(InvalidRequest, match="named `best`; there are number, of a package") as refusal:
        await host.jobs.ask(ada, replace(REWARDED, reward="best"), tasks=SUMS)

    assert refusal.value.parameter == "reward"
    assert await host.jobs.of_model(ada) == ()
    job = await host.jobs.ask(ada, replace(REWARDED, reward="of a package"), tasks=SUMS)
    assert job.options.reward == "of a package"


async def test_what_is_rewarded_leaves_the_log_to_be_learned(hosts: Directory, ada: ModelId) -> None:
    made = await promote(hosts, ada)
    await take_turn(hosts, turn_of(ada, "op-of-the-log"))
    await judge(hosts, ada, 3)
    asked = await hosts.jobs.ask(ada, REWARDED, tasks=SUMS)
    job = await hosts.jobs.start(ada, asked.number)
    assert (job.log_range, job.parent) == ((3, 3), made.digest)

    rewarded = trained(job, "rewarded")
    await hosts.jobs.finish(ada, job.number, replace(rewarded, method="rl"), DONE)

    view = await hosts.show_model(ada)
    assert (view.aliases, view.cursor) == ({"latest": rewarded.digest}, 3)
    [unsettled] = [one for one in await hosts.jobs.unsettled() if one.model == ada]
    assert (unsettled.standing.untrained, unsettled.standing.failed_at) == (1, None)

    again = await hosts.jobs.ask(ada, TrainingOptions(rebuilds=rewarded.digest))
    again = await hosts.jobs.start(ada, again.number)
    assert (again.options.rebuilds, again.log_range, again.parent) == (rewarded.digest, (3, 3), made.digest)
    await hosts.jobs.cancel(ada)
    for kept in await hosts.jobs.kept():
        if (kept.model, kept.revision) == (ada, rewarded.digest):
            await hosts.jobs.let_go(kept._replace(key=b"another"))
            await hosts.jobs.let_go(kept)
    assert rewarded.digest not in [one.revision for one in await hosts.jobs.kept() if one.model == ada]
    with pytest.raises(InvalidRequest, match=r"rewarded for tasks, .* the budget of kept trainings"):
        await hosts.jobs.ask(ada, TrainingOptions(rebuilds=rewarded.digest))


@IN_ONE_PROCESS
async def test_what_a_file_teaches_leaves_the_log_to_be_learned_and_is_not_made_again(
    hosts: Directory, ada: ModelId
) -> None:
    options = TrainingOptions(training_file="file-1")
    await judge(hosts, ada, 0)
    asked = await hosts.jobs.ask(ada, options, "key-1", note='{"suffix": "style"}')
    assert await hosts.jobs.ask(ada, options, "key-1", note='{"suffix": "style"}') == asked
    with pytest.raises(OperationConflict):
        await hosts.jobs.ask(ada, options, "key-1", note="")
    job = await hosts.jobs.start(ada, asked.number)
    assert (job.log_range, job.parent, job.note) == ((0, 0), OLD.digest, '{"suffix": "style"}')

    made = trained(job, "of-a-file")
    assert made.lineage is not None
    told = {**made.lineage.hyper_parameters, "training_file": "file-1"}
    made = replace(made, lineage=replace(made.lineage, hyper_parameters=told))
    ended = await hosts.jobs.finish(ada, job.number, made, DONE)

    assert (ended.state, ended.note) == ("promoted", job.note)
    assert (await hosts.show_model(ada)).cursor == 0
    assert ada in [one.model for one in await hosts.jobs.unsettled()]
    after = await promote(hosts, ada, "after", "train-2")
    with pytest.raises(InvalidRequest, match="learned from a file"):
        await hosts.jobs.ask(ada, TrainingOptions(rebuilds=after.digest))


@IN_ONE_PROCESS
async def test_nobody_trains_a_model_that_there_is_not(hosts: Directory, tenant: str) -> None:
    nobody = ModelId(tenant, "nobody")

    for call in (
        hosts.jobs.ask(nobody, TrainingOptions()),
        hosts.jobs.cancel(nobody),
        hosts.jobs.of_model(nobody),
        hosts.jobs.roll_back(nobody, OLD.digest),
    ):
        with pytest.raises(ModelNotFound):
            await call


async def test_a_tenant_sees_its_own_jobs_newest_first(hosts: Directory, ada: ModelId, tenant: str) -> None:
    await hosts.create_model(ModelId(tenant, "bob"))
    await hosts.create_model(ModelId(f"{tenant}-x", "ada"))
    mine = [
        await hosts.jobs.ask(ada, TrainingOptions()),
        await hosts.jobs.ask(ModelId(tenant, "bob"), TrainingOptions()),
    ]
    await hosts.jobs.ask(ModelId(f"{tenant}-x", "ada"), TrainingOptions())

    found = await hosts.jobs.of_tenant(tenant)

    assert sorted(found, key=lambda job: job.model) == mine
    assert list(found) == sorted(found, key=lambda job: (-job.created_ms, job.model))
    assert await hosts.jobs.of_tenant(tenant, limit=1) == found[:1]


async def test_a_rollback_goes_to_the_parent_once(hosts: Directory, ada: ModelId) -> None:
    first = await promote(hosts, ada, "first", "train-1")
    second = await promote(hosts, ada, "second", "train-2")
    assert second.parent == first.digest

    for _ in range(2):
        view = await hosts.jobs.roll_back(ada, second.digest)
        assert view.aliases == {"latest": first.digest}
    assert (await take_turn(hosts, turn_of(ada, "op-after"))).revision == first.digest

    assert (await hosts.jobs.roll_back(ada, first.digest)).cursor == 0
    with pytest.raises(RevisionNotFound):
        await hosts.jobs.roll_back(ada, "e" * 64)


@IN_ONE_PROCESS
async def test_a_model_that_was_trained_from_the_base_gets_the_base_back(
    hosts: Directory, tenant: str
) -> None:
    bob = (await hosts.create_model(ModelId(tenant, "bob"))).model
    await take_turn(hosts, turn_of(bob))
    made = await promote(hosts, bob)
    assert made.parent is None

    view = await hosts.jobs.roll_back(bob, made.digest)

    assert (view.aliases, view.cursor) == ({}, 0)
    assert (await take_turn(hosts, turn_of(bob, "op-after"))).revision == "base"


async def judge(hosts: Directory, model: ModelId, position: int, opinion: Opinion = UP) -> None:
    await hosts.give_feedback(model, position, opinion)


async def test_news_say_what_was_thought_since_the_model_was_trained(hosts: Directory, ada: ModelId) -> None:
    async def unsettled() -> list[object]:
        return [one for one in await hosts.jobs.unsettled() if one.model == ada]

    for number in range(3, 15):
        await take_turn(hosts, turn_of(ada, f"op-{number}"))
    assert await unsettled() == []
    await take_turn(hosts, turn_of(ada, "op-15"))
    [talked] = [one for one in await hosts.jobs.unsettled() if one.model == ada]
    assert (talked.standing.untrained, talked.standing.judged, talked.given) == (16, 0, 0)
    for position in range(16):
        await judge(hosts, ada, position)

    [one] = [one for one in await hosts.jobs.unsettled() if one.model == ada]
    held_out = sum(map(is_held_out, range(16)))
    assert (one.standing.untrained, one.standing.judged) == (16, 16 - held_out)
    assert (one.standing.held_out, one.standing.position, one.given) == (held_out, 16, 16)
    assert (one.serving, one.standing.failed_at) == (None, None)

    job = await started(hosts, ada)
    assert await unsettled() == [], "somebody looks at it"
    await hosts.jobs.end(ada, job.number, "failed", "of itself")
    [failed] = [one for one in await hosts.jobs.unsettled() if one.model == ada]
    assert failed.standing.failed_at == 16

    await hosts.jobs.settle(one)
    assert await unsettled() == []
    await judge(hosts, ada, 3, DOWN)
    await hosts.jobs.settle(one)
    assert len(await unsettled()) == 1, "what was said since is unsettled"


async def say(hosts: Directory, model: ModelId, *said: str, start: int) -> None:
    for number, text in enumerate(said, start):
        grant = await grant_of(hosts, turn_of(model, f"op-{number}"))
        await hosts.finish_turn(grant, reply("I see.", asked=text))


@IN_ONE_PROCESS
async def test_news_count_what_was_asked_again_since_the_model_was_trained(
    hosts: Directory, ada: ModelId
) -> None:
    asked = ["What is my dog called?", "Where does my sister live?"] * 2
    told = ["My dog is called Bruno.", "My sister lives in Oslo."]
    await say(hosts, ada, *told, *asked, *["It rains."] * 7, start=3)

    [talked] = [one for one in await hosts.jobs.unsettled() if one.model == ada]

    assert (talked.standing.position, talked.standing.asked_again) == (16, 2)
    await hosts.give_feedback(ada, 3, DOWN)
    [disliked] = [one for one in await hosts.jobs.unsettled() if one.model == ada]
    assert disliked.standing.asked_again == 2, "what was told stays told"
    await hosts.give_feedback(ada, 5, Opinion(correction="Your dog is called Rex."))
    [corrected] = [one for one in await hosts.jobs.unsettled() if one.model == ada]
    assert corrected.standing.asked_again == 1, "a correction answers its question"
    await promote(hosts, ada)
    await say(hosts, ada, *asked, *["It snows."] * 12, start=16)
    [trained_since] = [one for one in await hosts.jobs.unsettled() if one.model == ada]
    assert (trained_since.standing.untrained, trained_since.standing.asked_again) == (16, 0)


async def test_turns_since_a_look_are_not_settled_with_it(hosts: Directory, ada: ModelId) -> None:
    await say(hosts, ada, *["It rains."] * 13, start=3)
    [looked] = [one for one in await hosts.jobs.unsettled() if one.model == ada]
    await say(hosts, ada, *["It rains."] * 16, start=16)

    await hosts.jobs.settle(looked)

    [again] = [one for one in await hosts.jobs.unsettled() if one.model == ada]
    await hosts.jobs.settle(again)
    assert ada not in [one.model for one in await hosts.jobs.unsettled()]


@IN_ONE_PROCESS
async def test_news_count_what_was_thought_of_a_revision_and_of_its_parent(
    hosts: Directory, ada: ModelId
) -> None:
    made = await promote(hosts, ada)
    for number in range(3, 7):
        await take_turn(hosts, turn_of(ada, f"op-{number}"))
    for position, opinion in enumerate([UP, UP, DOWN, DOWN, Opinion(correction="No."), UP]):
        await judge(hosts, ada, position, opinion)

    [one] = [one for one in await hosts.jobs.unsettled() if one.model == ada]

    assert one.serving == made.digest
    assert one.of_parent == Judged(good=2, bad=1)
    assert one.of_serving == Judged(good=1, bad=2)


class Refusing(ScriptedEngine):
    """Refuses to prepare an adapter as long as it is told to."""

    def __init__(self) -> None:
        super().__init__(spoken("Hello."))
        self.refuses = True

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        if self.refuses:
            raise EngineUnavailable("it is restarting")
        await super().prepare(adapter, replaces)


async def test_a_candidate_that_no_engine_takes_yet_is_promoted_later_also_by_another_host(
    make_host: MakeHost,
) -> None:
    engine = Refusing()
    host = make_host(engine=engine)
    ada = (await host.create_model(ModelId("acme", "ada"), OLD)).model
    await take_turn(host, turn_of(ada))
    await host.jobs.ask(ada, TrainingOptions())
    job = await host.jobs.start(ada, 0)
    with pytest.raises(EngineUnavailable):
        await host.jobs.finish(ada, 0, trained(job), DONE)
    assert (await host.show_model(ada)).aliases == {"latest": OLD.digest}
    assert (await host.jobs.cancel(ada)).state == "promoting"

    host.close()
    successor = make_host(engine=engine)
    [left] = await successor.jobs.open_jobs()
    assert (left.job.state, left.job.candidate) == ("promoting", trained(job).digest)
    engine.refuses = False
    await successor.jobs.finish(ada, 0, trained(job), DONE)

    assert (await successor.show_model(ada)).aliases == {"latest": trained(job).digest}
    assert (
        engine.replaced == [AdapterRef(OLD.digest, engine.replaced[0].path)] if engine.replaced[0] else False
    )


async def test_as_many_news_as_were_asked_for_and_others_the_next_time(
    host: ModelHost, clock: FakeClock
) -> None:
    for name in ("ada", "bob", "cyd", "dan", "eve"):
        model = (await host.create_model(ModelId("acme", name))).model
        await take_turn(host, turn_of(model))
        await host.give_feedback(model, 0, UP)
    clock.advance(90)

    pages = [await host.jobs.unsettled(limit=2) for _ in range(3)]

    assert {one.model.name for page in pages for one in page} == {"ada", "bob", "cyd", "dan", "eve"}
    assert all(len(page) <= 2 for page in pages)
    assert {one.standing.idle_seconds for page in pages for one in page} == {90.0}


@IN_ONE_PROCESS
async def test_a_training_is_on_the_revision_that_the_served_one_was_trained_on_unless_it_says_otherwise(
    hosts: Directory, ada: ModelId
) -> None:
    async def fixed(options: TrainingOptions) -> TrainingJob:
        job = await hosts.jobs.ask(ada, options)
        return await hosts.jobs.start(ada, job.number)

    lower, other = revision("lower", 2).digest, revision("other", 2).digest
    for seed in ("lower", "other"):
        await hosts.publish_revision(ada, revision(seed, 2), seed)
    first = await fixed(TrainingOptions(on=lower))
    await hosts.jobs.finish(ada, first.number, trained(first), DONE)
    options: list[tuple[TrainingOptions, str | None]] = [
        (TrainingOptions(), lower),
        (TrainingOptions(on=other), other),
        (TrainingOptions(from_base=True), None),
        (TrainingOptions(from_base=True, on=other), other),
        (TrainingOptions(on="latest"), revision("new", 2).digest),
    ]
    for asked, on in options:
        job = await fixed(asked)
        assert job.options.on == on
        await hosts.jobs.cancel(ada)
    [made] = [one for one in await hosts.list_revisions(ada) if one.lineage is not None]
    assert made.lineage is not None
    assert made.lineage.on == lower


@IN_ONE_PROCESS
async def test_no_training_is_on_a_revision_of_another_model(hosts: Directory, ada: ModelId) -> None:
    theirs = revision("theirs", 2)
    for other in (ModelId("acme", "bob"), ModelId("rival", "ada")):
        await hosts.create_model(other)
        await hosts.publish_revision(other, theirs)

    for asked in (theirs.digest, theirs.digest[:12], "0" * 64, "canary"):
        with pytest.raises(RevisionNotFound):
            await hosts.jobs.ask(ada, TrainingOptions(on=asked))


async def test_a_rank_that_is_not_served_is_refused_at_once(make_host: MakeHost) -> None:
    host = make_host(limits=HostLimits(rank_max=16))
    ada = (await host.create_model(ModelId("acme", "ada"))).model

    with pytest.raises(InvalidRequest, match=r"rank 17 is more than is served, which is 16") as refused:
        await host.jobs.ask(ada, TrainingOptions(rank=17))

    assert refused.value.parameter == "rank"
    assert await host.jobs.of_model(ada) == ()
    assert (await host.jobs.ask(ada, TrainingOptions(rank=16))).state == "waiting"


async def test_where_no_trainer_runs_nobody_waits_for_one(make_host: MakeHost) -> None:
    host = make_host(limits=HostLimits(has_trainer=False))
    ada = (await host.create_model(ModelId("acme", "ada"))).model

    with pytest.raises(TrainingUnavailable):
        await host.jobs.ask(ada, TrainingOptions())

    assert await host.jobs.of_model(ada) == ()
