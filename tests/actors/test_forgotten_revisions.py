"""A revision that may have learned from what was forgotten answers nobody, nor does what goes on from it."""

import asyncio
from dataclasses import replace

import pytest

from populace.actors.feedback import Opinion
from populace.actors.members import Profile
from populace.actors.training_options import TrainingOptions
from populace.policies.placement import shard_of
from populace.storage.records import erasures, keys
from populace.storage.records.errors import RevisionNotFound
from populace.storage.rows import jobs
from populace.storage.training.errors import JobEnded
from tests.actors.conftest import MakeHost
from tests.actors.fakes import ScriptedEngine
from tests.actors.forgetful import ADA, Ada, engine
from tests.actors.populations import SHARDS
from tests.actors.trainings import DONE, trained
from tests.actors.turns import revision, wait_until

SHARD = shard_of(*ADA, SHARDS)


@pytest.fixture
def served() -> ScriptedEngine:
    return engine()


@pytest.fixture
async def ada(make_host: MakeHost, served: ScriptedEngine) -> Ada:
    host = make_host(engine=served)
    await host.create_model(ADA)
    return Ada(host)


async def train(ada: Ada, seed: str, **options: object) -> str:
    """Run a training to its end; answers the revision's digest."""
    job = await ada.host.jobs.ask(ADA, TrainingOptions(**options))  # type: ignore[arg-type]
    started = await ada.host.jobs.start(ADA, job.number)
    made = trained(started, seed)
    await ada.host.jobs.finish(ADA, job.number, made, DONE)
    return made.digest


async def digests(ada: Ada) -> set[str]:
    return {one.digest for one in await ada.host.list_revisions(ADA)}


def orphans(ada: Ada) -> set[str]:
    with ada.host._owned.read(SHARD) as txn:
        return set(erasures.read_orphans(txn))


async def test_an_alias_goes_to_the_nearest_ancestor_that_never_learned_from_it(ada: Ada) -> None:
    await ada.say("one")
    first = await train(ada, "first")
    await ada.say("my secret")
    second = await train(ada, "second")
    await ada.say("three")
    third = await train(ada, "third")

    told = await ada.forget(1)

    assert set(told.revisions) == {second, third} == orphans(ada)
    assert told.aliases == (("latest", first),)
    view = await ada.host.show_model(ADA)
    assert (view.aliases, view.cursor) == ({"latest": first}, 1)
    assert await digests(ada) == {first}
    assert (await ada.say("and now?")).revision == first


async def test_an_alias_does_not_go_back_to_a_revision_that_was_rolled_back(ada: Ada) -> None:
    await ada.say("one")
    rejected = await train(ada, "rejected")
    await ada.host.jobs.roll_back(ADA, rejected)
    await ada.say("my secret")
    learned = await train(ada, "learned", from_base=True)

    told = await ada.forget(1)

    assert (told.revisions, told.aliases) == ((learned,), (("latest", None),))
    assert await digests(ada) == {rejected}
    view = await ada.host.show_model(ADA)
    assert (view.aliases, view.cursor) == ({}, 0)
    assert (await ada.say("and now?")).revision == "base"


async def test_without_another_revision_the_base_answers_and_the_rest_is_to_be_learned_again(
    ada: Ada,
) -> None:
    await ada.say("my secret")
    await ada.say("two")
    await ada.host.give_feedback(ADA, 1, Opinion(thumb=True))
    only = await train(ada, "only")

    told = await ada.forget(0)

    assert (told.revisions, told.aliases) == ((only,), (("latest", None),))
    view = await ada.host.show_model(ADA)
    assert (view.aliases, view.cursor) == ({}, 0)
    assert (await ada.say("and now?")).revision == "base"
    assert [unsettled.model for unsettled in await ada.host.jobs.unsettled()] == [ADA]


async def test_what_was_trained_before_it_was_said_or_imported_stays(ada: Ada) -> None:
    imported = revision("imported", 1)
    await ada.host.publish_revision(ADA, imported)
    await ada.say("one")
    before = await train(ada, "before", from_base=True)
    await ada.say("my secret")

    told = await ada.forget(1)

    assert (told.revisions, told.aliases) == ((), ())
    assert (await ada.host.show_model(ADA)).aliases == {"latest": before}
    assert orphans(ada) == set()


async def test_what_was_merged_from_it_goes_too(ada: Ada) -> None:
    await ada.say("my secret")
    learned = await train(ada, "learned")
    other = revision("other", 1)
    await ada.host.publish_revision(ADA, other, "other")
    merged = replace(revision("merged", 3), method="merge", sources=((learned, 0.5), (other.digest, 0.5)))
    await ada.host.publish_revision(ADA, merged)

    told = await ada.forget(0)

    assert set(told.revisions) == {learned, merged.digest}
    assert (await ada.host.show_model(ADA)).aliases == {"latest": other.digest, "other": other.digest}


async def test_what_was_trained_on_it_goes_too(ada: Ada) -> None:
    await ada.say("one")
    first = await train(ada, "first")
    await ada.say("my secret")
    learned = await train(ada, "learned")
    # Neither learns from the log: only the lower revision could have told them.
    above = await train(ada, "above", on=learned, from_base=True, training_file="file-1")
    other = await train(ada, "other", on=first, from_base=True, training_file="file-1")

    told = await ada.forget(1)

    assert set(told.revisions) == {learned, above}
    assert (await ada.host.show_model(ADA)).aliases == {"latest": other}


async def test_a_training_on_a_revision_that_goes_is_cancelled(ada: Ada) -> None:
    await ada.say("my secret")
    learned = await train(ada, "learned")
    await ada.host.jobs.roll_back(ADA, learned)
    options = TrainingOptions(on=learned, training_file="file-1")
    job = await ada.host.jobs.ask(ADA, options)
    await ada.host.jobs.start(ADA, job.number)

    await ada.forget(0)

    assert (await ada.host.jobs.of_model(ADA))[0].state == "cancelled"


async def test_a_rejected_candidate_goes_too(ada: Ada) -> None:
    await ada.say("my secret")
    job = await ada.host.jobs.ask(ADA, TrainingOptions())
    rejected = trained(await ada.host.jobs.start(ADA, job.number), "worse", "it is worse")
    await ada.host.jobs.finish(ADA, job.number, rejected, DONE)

    assert (await ada.forget(0)).revisions == (rejected.digest,)
    assert await digests(ada) == set()


async def test_a_training_that_learns_from_it_is_cancelled_and_nothing_opens_what_it_saved(ada: Ada) -> None:
    await ada.say("my secret")
    job = await ada.host.jobs.ask(ADA, TrainingOptions())
    started = await ada.host.jobs.start(ADA, job.number)
    [opened] = await ada.host.jobs.open_jobs()

    told = await ada.forget(0)

    assert told.jobs == (job.number,)
    assert await ada.host.jobs.open_jobs() == ()
    [ended] = await ada.host.jobs.of_model(ADA)
    assert (ended.state, ended.reason) == ("cancelled", "a turn that it learned from was forgotten")
    with ada.host._owned.read(SHARD) as txn:
        assert jobs.read_job(txn, *ADA, job.number).session_key != opened.session_key
    candidate = trained(started, "late")
    with pytest.raises(JobEnded):
        await ada.host.jobs.finish(ADA, job.number, candidate, DONE)
    assert await digests(ada) == set()
    assert orphans(ada) == {candidate.digest}, "its file is swept"


async def test_a_training_that_has_not_begun_learns_from_the_log_without_it(ada: Ada) -> None:
    await ada.say("my secret")
    job = await ada.host.jobs.ask(ADA, TrainingOptions())

    assert (await ada.forget(0)).jobs == ()

    assert (await ada.host.jobs.start(ADA, job.number)).state == "running"


async def test_a_candidate_that_is_about_to_be_promoted_is_not(ada: Ada, served: ScriptedEngine) -> None:
    await ada.say("my secret")
    job = await ada.host.jobs.ask(ADA, TrainingOptions())
    candidate = trained(await ada.host.jobs.start(ADA, job.number), "candidate")
    gate = served.gates[candidate.digest] = asyncio.Event()
    finishing = asyncio.create_task(ada.host.jobs.finish(ADA, job.number, candidate, DONE))

    async def is_prewarmed() -> bool:
        return any(one.digest == candidate.digest for one in served.prepared)

    await wait_until(is_prewarmed)
    told = await ada.forget(0)
    gate.set()

    with pytest.raises(JobEnded):
        await finishing
    assert (told.jobs, told.revisions) == ((job.number,), (candidate.digest,))
    view = await ada.host.show_model(ADA)
    assert (view.aliases, view.cursor) == ({}, 0)
    assert await digests(ada) == set()


async def test_a_revision_that_is_gone_cannot_be_rolled_back_to(ada: Ada) -> None:
    await ada.say("my secret")
    learned = await train(ada, "learned")
    await ada.forget(0)

    with pytest.raises(RevisionNotFound):
        await ada.host.jobs.roll_back(ADA, learned)


async def test_a_turn_whose_revision_is_gone_is_folded_with_the_base(
    ada: Ada, served: ScriptedEngine
) -> None:
    await ada.say("my secret")
    await train(ada, "learned")
    made = await ada.say("two")
    assert made.revision != "base"

    await ada.forget(0)

    replays = [one for one in served.requests if one.reply_ids is not None]
    assert [one.adapter for one in replays] == [None]
    assert await ada.state(2) == await ada.state()


async def test_how_a_revision_that_is_gone_answers_the_probes_is_gone(ada: Ada) -> None:
    await ada.say("my secret")
    learned = await train(ada, "learned")
    await ada.host.members.share(ADA, "votes")
    profile = Profile(revision=learned, probes="p" * 64, choices=2, log_probs=bytes(4), accuracy=1.0)
    assert await ada.host.members.keep_profile(ADA, profile)

    await ada.forget(0)

    with ada.host._owned.read(SHARD) as txn:
        assert txn.get(keys.profile(*ADA)) is None


async def test_why_a_training_ended_that_tells_nothing_of_a_forgotten_turn_stays(ada: Ada) -> None:
    await ada.say("my secret")
    reasons = ("rank 200 is more than is served, which is 16", "it failed at “my secret”")
    for reason in reasons:
        job = await ada.host.jobs.ask(ADA, TrainingOptions())
        await ada.host.jobs.start(ADA, job.number)
        await ada.host.jobs.end(ADA, job.number, "failed", reason)
    await ada.host.jobs.ask(ADA, TrainingOptions())
    await ada.host.jobs.cancel(ADA)

    await ada.forget(0)

    newest, quoting, plain = await ada.host.jobs.of_model(ADA)
    assert (newest.state, newest.reason) == ("cancelled", "somebody cancelled it")
    assert (quoting.state, quoting.reason) == ("failed", "a turn that it learned from was forgotten")
    assert (plain.state, plain.reason) == ("failed", reasons[0])


async def test_the_reason_of_a_training_that_quotes_a_forgotten_turn_is_forgotten_too(ada: Ada) -> None:
    await ada.say("my secret")
    for seed, objection in (("first", "it could not learn “my secret”"), ("second", "it is worse")):
        job = await ada.host.jobs.ask(ADA, TrainingOptions())
        made = trained(await ada.host.jobs.start(ADA, job.number), seed, objection)
        await ada.host.jobs.finish(ADA, job.number, made, DONE)
        if seed == "first":
            await ada.host.forgetting.forget(ADA, [0], "forget")
            await ada.say("nothing of it")

    newest, oldest = await ada.host.jobs.of_model(ADA)
    assert (oldest.state, oldest.reason) == ("rejected", "a turn that it learned from was forgotten")
    assert newest.reason == "it is worse"
