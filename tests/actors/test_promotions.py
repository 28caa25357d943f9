"""An alias moves to a new revision when an engine has it ready, and not before; the old one serves on."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

import pytest

from populace.actors.engine import AdapterRef
from populace.actors.errors import AdapterInvalid, EngineUnavailable, InvalidName, InvalidRequest
from populace.actors.host.model_host import ModelHost
from populace.actors.hosts import Revision
from populace.actors.turn import ModelId
from populace.storage.records.errors import ModelNotFound, RevisionNotFound
from tests.actors.conftest import MakeHost
from tests.actors.fakes import ScriptedEngine, spoken
from tests.actors.turns import grant_of, revision, take_turn, turn_of, wait_until

ADA = ModelId("acme", "ada")
OLD, NEW, NEWER = revision("old", 1), revision("new", 2), revision("newer", 3)


class Engine(ScriptedEngine):
    """Prepares an adapter when its gate opens, or fails with what ``refusals`` has for it."""

    def __init__(self) -> None:
        super().__init__(spoken("Hello."))
        self.refusals: dict[str, Exception] = {}

    def hold(self, held: Revision) -> asyncio.Event:
        return self.gates.setdefault(held.digest, asyncio.Event())

    async def prepare(self, adapter: AdapterRef, replaces: AdapterRef | None = None) -> None:
        await super().prepare(adapter, replaces)
        if adapter.digest in self.refusals:
            raise self.refusals.pop(adapter.digest)

    async def wait_prepared(self, count: int) -> None:
        async def are_prepared() -> bool:
            return len(self.prepared) == count

        await wait_until(are_prepared)


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
async def host(make_host: MakeHost, engine: Engine) -> AsyncGenerator[ModelHost]:
    made = make_host(engine=engine)
    await made.create_model(ADA, OLD)
    yield made
    made.check_integrity()


async def served(host: ModelHost, operation: str) -> str:
    return (await take_turn(host, turn_of(ADA, operation))).revision


async def readiness(host: ModelHost) -> list[str]:
    return [one.readiness for one in await host.list_revisions(ADA)]


async def test_the_old_revision_answers_until_the_new_one_is_ready(host: ModelHost, engine: Engine) -> None:
    gate = engine.hold(NEW)
    promotion = asyncio.create_task(host.publish_revision(ADA, NEW))
    await engine.wait_prepared(1)

    assert (await served(host, "op-1"), await readiness(host)) == (OLD.digest, ["ready", "prewarming"])
    assert (await host.show_model(ADA)).aliases == {"latest": OLD.digest}
    host.check_integrity()

    gate.set()
    view = await promotion

    assert view.aliases == {"latest": NEW.digest}
    assert (await served(host, "op-2"), await readiness(host)) == (NEW.digest, ["ready", "ready"])
    assert [one.digest for one in engine.prepared] == [NEW.digest]
    assert [one and one.digest for one in engine.replaced] == [OLD.digest]


async def test_the_first_revision_of_an_alias_replaces_none(host: ModelHost, engine: Engine) -> None:
    await host.publish_revision(ADA, NEW, "canary")

    assert engine.replaced == [None]


async def test_a_turn_in_flight_ends_on_the_revision_it_began_with(host: ModelHost, engine: Engine) -> None:
    grant = await grant_of(host, turn_of(ADA, "op-1"))

    await host.publish_revision(ADA, NEW)

    assert grant.revision == OLD.digest
    await host.abandon_turn(grant, "the test ends")
    assert await served(host, "op-2") == NEW.digest


@pytest.mark.parametrize("refusal", [AdapterInvalid("it has a NaN"), EngineUnavailable("it restarts")])
async def test_what_an_engine_refuses_is_registered_and_serves_nobody(
    host: ModelHost, engine: Engine, refusal: Exception
) -> None:
    engine.refusals[NEW.digest] = refusal

    with pytest.raises(type(refusal)):
        await host.publish_revision(ADA, NEW)

    assert (await served(host, "op-1"), await readiness(host)) == (OLD.digest, ["ready", "registered"])
    await host.publish_revision(ADA, NEW)
    assert (await served(host, "op-2"), await readiness(host)) == (NEW.digest, ["ready", "ready"])


async def test_a_crash_before_it_is_ready_leaves_the_alias_and_the_revision(
    host: ModelHost, engine: Engine, make_host: MakeHost
) -> None:
    engine.hold(NEW)
    promotion = asyncio.create_task(host.publish_revision(ADA, NEW))
    await engine.wait_prepared(1)
    promotion.cancel()
    await asyncio.gather(promotion, return_exceptions=True)
    host.close()

    successor = make_host(engine=Engine())

    assert (await served(successor, "op-1"), await readiness(successor)) == (
        OLD.digest,
        ["ready", "registered"],
    )
    await successor.publish_revision(ADA, NEW)
    assert await served(successor, "op-2") == NEW.digest


async def test_moves_of_an_alias_take_effect_in_the_order_they_were_asked_for(
    host: ModelHost, engine: Engine
) -> None:
    gate = engine.hold(NEW)
    first = asyncio.create_task(host.publish_revision(ADA, NEW))
    await engine.wait_prepared(1)
    second = asyncio.create_task(host.publish_revision(ADA, NEWER))
    other_alias = await host.publish_revision(ADA, NEWER, "canary")

    assert other_alias.aliases == {"canary": NEWER.digest, "latest": OLD.digest}

    gate.set()
    await asyncio.gather(first, second)

    assert await served(host, "op-1") == NEWER.digest


async def test_a_promotion_that_is_given_up_lets_the_next_one_pass(host: ModelHost, engine: Engine) -> None:
    engine.hold(NEW)
    first = asyncio.create_task(host.publish_revision(ADA, NEW))
    await engine.wait_prepared(1)
    second = asyncio.create_task(host.publish_revision(ADA, NEWER))

    first.cancel()

    assert (await second).aliases == {"latest": NEWER.digest}
    assert await readiness(host) == ["ready", "registered", "ready"]


async def test_a_namesake_created_meanwhile_gets_nothing_of_it(host: ModelHost, engine: Engine) -> None:
    gate = engine.hold(NEW)
    promotion = asyncio.create_task(host.publish_revision(ADA, NEW))
    await engine.wait_prepared(1)
    await host.erase_model(ADA)
    await host.create_model(ADA)
    gate.set()

    with pytest.raises(RevisionNotFound):
        await promotion

    assert ((await host.show_model(ADA)).aliases, await host.list_revisions(ADA)) == ({}, ())


async def test_a_model_that_is_erased_meanwhile_is_said_to_be_gone(host: ModelHost, engine: Engine) -> None:
    gate = engine.hold(NEW)
    promotion = asyncio.create_task(host.publish_revision(ADA, NEW))
    await engine.wait_prepared(1)
    await host.erase_model(ADA)
    gate.set()

    with pytest.raises(ModelNotFound):
        await promotion


async def test_publishing_what_is_ready_again_keeps_its_first_record(host: ModelHost, engine: Engine) -> None:
    await host.publish_revision(ADA, NEW)
    await host.publish_revision(ADA, replace(NEW, created_ms=99))
    await host.publish_revision(ADA, OLD)

    assert await host.list_revisions(ADA) == (OLD, NEW)
    assert await served(host, "op-1") == OLD.digest


@pytest.mark.parametrize("reference", ["canary", NEW.digest, NEW.digest[:12]])
async def test_an_alias_moves_to_a_revision_that_the_model_has_once_it_is_ready(
    host: ModelHost, engine: Engine, reference: str
) -> None:
    await host.publish_revision(ADA, NEW, "canary")
    gate = engine.hold(NEW)
    move = asyncio.create_task(host.move_alias(ADA, "latest", reference))
    await engine.wait_prepared(2)

    assert await served(host, "op-1") == OLD.digest

    gate.set()
    view = await move

    assert view.aliases == {"canary": NEW.digest, "latest": NEW.digest}
    assert await served(host, "op-2") == NEW.digest
    assert engine.replaced[-1] is not None
    assert engine.replaced[-1].digest == OLD.digest


async def test_what_another_alias_names_is_looked_up_when_it_is_the_moves_turn(
    host: ModelHost, engine: Engine
) -> None:
    gate = engine.hold(NEW)
    first = asyncio.create_task(host.publish_revision(ADA, NEW))
    await engine.wait_prepared(1)
    second = asyncio.create_task(host.move_alias(ADA, "latest", "canary"))
    await host.publish_revision(ADA, NEWER, "canary")
    gate.set()
    await asyncio.gather(first, second)

    assert await served(host, "op-1") == NEWER.digest


@pytest.mark.parametrize(
    ("alias", "reference", "refusal"),
    [
        ("latest", "canary", RevisionNotFound),
        ("latest", "f" * 64, RevisionNotFound),
        ("latest", "base", InvalidRequest),
        ("No Alias", OLD.digest, InvalidName),
        ("f" * 64, OLD.digest, InvalidName),
    ],
)
async def test_a_move_that_cannot_be_is_refused_and_moves_nothing(
    host: ModelHost, engine: Engine, alias: str, reference: str, refusal: type[Exception]
) -> None:
    with pytest.raises(refusal):
        await host.move_alias(ADA, alias, reference)

    assert (await host.show_model(ADA)).aliases == {"latest": OLD.digest}
    assert engine.prepared == []


async def test_what_an_engine_refuses_moves_no_alias(host: ModelHost, engine: Engine) -> None:
    await host.publish_revision(ADA, NEW, "canary")
    engine.refusals[NEW.digest] = EngineUnavailable("it restarts")

    with pytest.raises(EngineUnavailable):
        await host.move_alias(ADA, "latest", "canary")

    assert await served(host, "op-1") == OLD.digest


async def test_an_alias_is_removed_and_its_revision_stays(host: ModelHost) -> None:
    await host.publish_revision(ADA, NEW, "canary")

    view = await host.remove_alias(ADA, "canary")

    assert view.aliases == (await host.show_model(ADA)).aliases == {"latest": OLD.digest}
    assert await host.list_revisions(ADA) == (OLD, NEW)
    with pytest.raises(RevisionNotFound):
        await take_turn(host, turn_of(ADA, "op-1", alias="canary"))
    with pytest.raises(RevisionNotFound):
        await host.remove_alias(ADA, "canary")
    with pytest.raises(InvalidRequest):
        await host.remove_alias(ADA, "latest")
    with pytest.raises(ModelNotFound):
        await host.remove_alias(ModelId("globex", "ada"), "canary")
