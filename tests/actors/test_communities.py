"""Who has no revision of their own is served by their community's, from the next turn on."""

import itertools
from dataclasses import replace
from typing import Any

import pytest

from populace.actors.engine import AdapterRef, Message, Sampling
from populace.actors.feedback import Opinion
from populace.actors.host.model_host import ModelHost
from populace.actors.hosts import Hosts
from populace.actors.suites import suite_of
from populace.actors.training import TrainingJob
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import BASE_REVISION, ChatRequest, ModelId
from populace.policies.evaluation_gate import Judged
from populace.policies.placement import host_of, shard_of
from populace.storage.records.errors import RevisionNotFound, UnknownOutcome
from populace.storage.rows import portable
from populace.storage.store import Store
from populace.suites.asking import ask_suite
from tests.actors.conftest import MakeHost
from tests.actors.fakes import ScriptedEngine, spoken
from tests.actors.populations import COMMUNITY, HOSTS, ray_directory
from tests.actors.test_owned_shards import disk_full
from tests.actors.trainings import DONE, trained
from tests.actors.turns import grant_of, reply, revision, take_turn, turn_of, wait_until
from tests.storage.adapters import packed

ADA, EVERYBODY = ModelId("acme", "ada"), ModelId("acme", COMMUNITY)
FIRST, SECOND, OWN = revision("first"), revision("second", 2), revision("own", 3)


@pytest.fixture
async def host(make_host: MakeHost) -> ModelHost:
    """A host with ada, who has no revision, and a community that has one."""
    host = make_host(community=COMMUNITY)
    await host.create_model(ADA)
    await host.create_model(EVERYBODY, FIRST)
    return host


async def served_by(hosts: Hosts, model: ModelId, number: "itertools.count[int]") -> str:
    return (await take_turn(hosts, turn_of(model, f"op-{next(number)}"))).revision


async def test_a_turn_is_made_by_the_communitys_revision_and_says_so(host: ModelHost, store: Store) -> None:
    grant = await grant_of(host, turn_of(ADA))
    made = await host.finish_turn(grant, reply())

    assert grant.adapter == AdapterRef(FIRST.digest, str(store.revisions.path(FIRST.digest)))
    assert made.revision == FIRST.digest
    assert (await host.read_log(ADA))[0].revision == FIRST.digest
    view = await host.show_model(ADA)
    assert (view.begins_on, view.aliases) == (FIRST.digest, {})
    assert await host.list_revisions(ADA) == (), "no row of it is written"
    page = await host.list_models("acme")
    assert [(one.model, one.begins_on) for one in page.models] == [(ADA, FIRST.digest), (EVERYBODY, None)]


async def test_the_next_turn_follows_the_community_and_a_running_one_does_not(host: ModelHost) -> None:
    running = await grant_of(host, turn_of(ADA, "op-1"))

    await host.publish_revision(EVERYBODY, SECOND)

    assert (await host.finish_turn(running, reply())).revision == FIRST.digest
    assert (await take_turn(host, turn_of(ADA, "op-2"))).revision == SECOND.digest
    await host.move_alias(EVERYBODY, "latest", FIRST.digest)
    assert (await take_turn(host, turn_of(ADA, "op-3"))).revision == FIRST.digest


async def test_who_has_a_revision_stays_on_what_was_judged_for_them(host: ModelHost) -> None:
    await host.publish_revision(ADA, OWN)
    await host.publish_revision(EVERYBODY, SECOND)

    assert (await take_turn(host, turn_of(ADA))).revision == OWN.digest
    assert (await host.show_model(ADA)).begins_on is None


async def test_who_rolls_back_their_first_revision_begins_on_the_communitys(host: ModelHost) -> None:
    await host.publish_revision(ADA, OWN)

    view = await host.jobs.roll_back(ADA, OWN.digest)

    assert (view.aliases, view.begins_on) == ({}, FIRST.digest)
    assert (await take_turn(host, turn_of(ADA))).revision == FIRST.digest


async def test_other_aliases_and_the_base_mean_what_they_did(host: ModelHost) -> None:
    await host.publish_revision(ADA, OWN, "canary")

    assert (await grant_of(host, turn_of(ADA, alias="canary"))).revision == OWN.digest
    with pytest.raises(RevisionNotFound):
        await host.begin_turn(turn_of(ADA, "op-2", alias="stable"))
    seen = {
        alias: (await host.begin_peek(turn_of(ADA, alias=alias))).revision
        for alias in ("base", "latest", "canary", FIRST.digest)
    }
    assert seen == {
        "base": BASE_REVISION,
        "latest": FIRST.digest,
        "canary": OWN.digest,
        FIRST.digest: FIRST.digest,
    }
    with pytest.raises(RevisionNotFound):
        await host.begin_peek(turn_of(ADA, alias=SECOND.digest))


async def test_the_community_itself_begins_on_the_base(make_host: MakeHost) -> None:
    host = make_host(community=COMMUNITY)
    await host.create_model(EVERYBODY)
    await host.create_model(ADA)

    for model in (EVERYBODY, ADA):
        assert (await take_turn(host, turn_of(model))).revision == BASE_REVISION
        assert (await host.show_model(model)).begins_on is None


async def test_nobody_begins_on_another_tenants_community_or_on_one_of_another_base(host: ModelHost) -> None:
    stranger = ModelId("globex", "ada")
    await host.create_model(stranger)
    assert (await take_turn(host, turn_of(stranger))).revision == BASE_REVISION

    await host.publish_revision(EVERYBODY, replace(SECOND, base="c" * 64))

    assert (await take_turn(host, turn_of(ADA))).revision == BASE_REVISION


async def test_without_the_setting_a_model_of_that_name_is_like_any_other(make_host: MakeHost) -> None:
    host = make_host()
    await host.create_model(ADA)
    await host.create_model(EVERYBODY, FIRST)

    assert (await take_turn(host, turn_of(ADA))).revision == BASE_REVISION


async def test_of_an_erased_community_the_base_is_left(host: ModelHost) -> None:
    await host.erase_model(EVERYBODY)

    assert (await take_turn(host, turn_of(ADA))).revision == BASE_REVISION
    assert (await host.show_model(ADA)).begins_on is None


async def test_the_adapter_that_people_are_served_by_is_not_swept(make_host: MakeHost, store: Store) -> None:
    with store.revisions.adding():
        digest = store.revisions.add(packed("shared"))[0]
    host = make_host(community=COMMUNITY)
    await host.create_model(EVERYBODY, replace(FIRST, digest=digest))
    other = ModelId("acme", "other")
    await host.create_model(other, replace(FIRST, digest=digest))
    await host.create_model(ADA)
    await host.erase_model(other)

    assert await host.sweep_adapters() == 0
    assert (await take_turn(host, turn_of(ADA))).revision == digest
    assert store.revisions.has(digest)

    await host.erase_model(EVERYBODY)
    assert await host.sweep_adapters() == 1
    assert (await take_turn(host, turn_of(ADA, "op-2"))).revision == BASE_REVISION


async def test_what_a_person_takes_along_has_none_of_the_communitys_weights(host: ModelHost) -> None:
    await take_turn(host, turn_of(ADA))

    content = await host.export_model(ADA)

    assert (content.revisions, content.aliases) == ((), {})
    assert portable.portable_rows(content, "acme", "copy"), "an import accepts it"
    copy = ModelId("globex", "ada")
    await host.import_model(copy, content)
    assert (await host.read_log(copy))[0].revision == FIRST.digest
    assert (await take_turn(host, turn_of(copy, "op-2"))).revision == BASE_REVISION


async def test_a_suite_is_asked_of_the_revision_that_serves(make_host: MakeHost) -> None:
    engine = ScriptedEngine(spoken("Bruno."))
    host = make_host(engine=engine, community=COMMUNITY)
    await host.create_model(ADA)
    await host.create_model(EVERYBODY, FIRST)
    suite = suite_of([{"ask": f"What is dog {number} called?", "expect": "Bruno"} for number in range(3)])

    result = await ask_suite(host, ADA, suite, revision="latest", turn_seconds_max=60.0)

    assert result.revision == FIRST.digest
    assert {request.adapter.digest for request in engine.requests if request.adapter} == {FIRST.digest}
    assert len(engine.requests) == 3


async def test_a_memory_is_folded_again_with_the_revision_that_it_was_made_with(make_host: MakeHost) -> None:
    host = make_host(engine=ScriptedEngine(spoken("Hello.")), community=COMMUNITY)
    await host.create_model(ADA)
    await host.create_model(EVERYBODY, FIRST)
    await host.chat(ChatRequest(turn_of(ADA), (Message("user", "Hi."),), Sampling()))

    stretch = host.memories._stretch(ADA, 1)

    assert stretch.records[0].revision == FIRST.digest
    assert stretch.revisions == {FIRST.digest}
    await host.erase_model(EVERYBODY)
    assert host.memories._stretch(ADA, 1).revisions == frozenset()


@pytest.mark.ray
async def test_a_host_that_does_not_own_the_communitys_shard_follows_it_too(
    two_ray_hosts: tuple[Store, list[Any]], tenant: str
) -> None:
    store, handles = two_ray_hosts
    hosts, number = ray_directory(handles, store), itertools.count()
    everybody = ModelId(tenant, COMMUNITY)

    def place(model: ModelId) -> int:
        return host_of(shard_of(*model, store.shards), HOSTS)

    named = (ModelId(tenant, f"person-{at}") for at in itertools.count())
    person = next(model for model in named if place(model) != place(everybody))
    await hosts.create_model(person)
    assert await served_by(hosts, person, number) == BASE_REVISION

    async def is_served_by(digest: str) -> bool:
        return await served_by(hosts, person, number) == digest

    await hosts.create_model(everybody, FIRST)
    await wait_until(lambda: is_served_by(FIRST.digest))
    assert (await hosts.show_model(person)).begins_on == FIRST.digest
    await hosts.publish_revision(everybody, SECOND)
    await wait_until(lambda: is_served_by(SECOND.digest))
    await hosts.erase_model(everybody)
    await wait_until(lambda: is_served_by(BASE_REVISION))


async def test_a_community_whose_shard_cannot_be_read_is_taken_to_be_what_it_was(
    host: ModelHost, store: Store
) -> None:
    names = (ModelId("acme", f"person-{at}") for at in itertools.count())
    mine = shard_of(*EVERYBODY, store.shards)
    person = next(model for model in names if shard_of(*model, store.shards) != mine)
    await host.create_model(person)
    assert (await take_turn(host, turn_of(person, "op-1"))).revision == FIRST.digest

    grant = await grant_of(host, turn_of(EVERYBODY))
    with disk_full(), pytest.raises(UnknownOutcome):
        await host.finish_turn(grant, reply("long" * 100_000))

    # Its shard is being read whole meanwhile, and refuses.
    assert (await take_turn(host, turn_of(person, "op-2"))).revision == FIRST.digest


async def started(host: ModelHost, model: ModelId, **options: Any) -> TrainingJob:
    asked = await host.jobs.ask(model, TrainingOptions(**options))
    return await host.jobs.start(model, asked.number)


async def test_a_training_is_on_the_communitys_revision_and_follows_it(host: ModelHost) -> None:
    first = await started(host, ADA)
    assert first.options.on == FIRST.digest
    await host.jobs.finish(ADA, first.number, trained(first, "own"), DONE)
    await host.publish_revision(EVERYBODY, SECOND)

    second = await started(host, ADA)
    assert second.options.on == SECOND.digest, "its own part is carried over"
    await host.jobs.end(ADA, second.number, "cancelled", "")

    from_base = await started(host, ADA, from_base=True)
    assert from_base.options.on is None
    await host.jobs.finish(ADA, from_base.number, trained(from_base, "alone"), DONE)
    assert (await started(host, ADA)).options.on is None, "what was trained from the base goes on without"
    assert (await started(host, EVERYBODY)).options.on is None


async def test_a_first_revision_is_compared_with_how_the_communitys_was_liked(host: ModelHost) -> None:
    opinions = [Opinion(thumb=True)] * 3 + [Opinion(thumb=False)]
    for number, opinion in enumerate(opinions):
        await take_turn(host, turn_of(ADA, f"op-{number}"))
        await host.give_feedback(ADA, number, opinion)
        if number == 1:
            await host.publish_revision(EVERYBODY, SECOND)
    job = await started(host, ADA)
    await host.jobs.finish(ADA, job.number, trained(job, "own"), DONE)
    await take_turn(host, turn_of(ADA, "op-own"))
    await host.give_feedback(ADA, len(opinions), Opinion(thumb=False))

    [one] = [found for found in await host.jobs.unsettled() if found.model == ADA]

    assert one.of_parent == Judged(good=3, bad=1)
    assert one.of_serving == Judged(good=0, bad=1)
