"""Messages between clients and a host actor."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError, RayTaskError

from populace.actors import span_names as names
from populace.actors.draining import Draining
from populace.actors.engine import Message
from populace.actors.errors import HostUnavailable, InvalidRequest
from populace.actors.host_limits import HostLimits
from populace.actors.hosts import Hosts
from populace.actors.reward_tasks import RewardTask
from populace.actors.training_options import TrainingOptions
from populace.actors.turn import ModelId, TurnGrant
from populace.hosting import host_client
from populace.hosting.directory.directory import Directory
from populace.hosting.directory.operations import OPERATIONS, Call
from populace.hosting.host_actor import HostActor
from populace.hosting.host_client import CALLS_PER_MESSAGE_MAX, RayHostClient, host_error
from populace.hosting.messages import Waiting
from populace.storage.records.errors import ModelExists, ModelNotFound
from populace.storage.store import Store
from populace.telemetry.calls import Caller, current_request_id, serving
from populace.telemetry.tracing.spans import TRACER
from tests.actors.fakes import FakeClock
from tests.actors.populations import SHARDS, host_options, local_hosts, ray_directory
from tests.actors.turns import grant_of, queue_turn, reply, take_turn, turn_of, wait_until
from tests.limits import HANG_SECONDS
from tests.runtime.telemetry.recorded import recording, told, trace_id_of, tree

ADA, BEN = ModelId("acme", "ada"), ModelId("acme", "ben")


class Method:
    """One method of a Ray handle: counts its messages, holds their answers while the gate is closed."""

    def __init__(self, handle: "ActorHandle", name: str) -> None:
        self._handle = handle
        self._name = name

    def remote(self, *args: Any) -> "asyncio.Task[Any]":
        self._handle.messages[self._name] += 1
        return asyncio.create_task(self._answer(args))

    async def _answer(self, args: tuple[Any, ...]) -> Any:
        if self._name == "presence_address":
            return await self._handle.actor.presence_address()
        if self._handle.failure is not None:
            raise self._handle.failure
        lost = self._handle.losses.pop(0) if self._handle.losses else None
        if lost == "request":
            raise ActorUnavailableError("its request was lost", None)
        result = await getattr(self._handle.actor, self._name)(*args)
        if lost == "answer":
            raise ActorUnavailableError("its answer was lost", None)
        self._handle.answered.set()
        await self._handle.gate.wait()
        return result


class ActorHandle:
    """A handle on an actor in this process, in place of Ray's.

    ``losses`` says of each message of calls to come whether its ``request`` or its ``answer`` is lost, as
    Ray loses them when a connection breaks.
    """

    def __init__(self, actor: HostActor) -> None:
        self.actor = actor
        self.messages: Counter[str] = Counter()
        self.answered = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.failure: Exception | None = None
        self.losses: list[str | None] = []

    def __getattr__(self, name: str) -> Method:
        return Method(self, name)


@pytest.fixture
async def handle(tmp_path: Path) -> AsyncGenerator[ActorHandle]:
    actor = HostActor(host_options(Store.create_or_open(tmp_path / "store", SHARDS)))
    await actor.check_integrity()  # waits until its store is open
    yield ActorHandle(actor)
    await actor.check_integrity()
    await actor.close()


@pytest.fixture
async def directory(handle: ActorHandle) -> Directory:
    directory = ray_directory([handle], Store.open(Path((await handle.actor.describe()).data_directory)))
    for model in (ADA, BEN):
        await directory.create_model(model)
    handle.messages.clear()
    return directory


def tasks_of(directory: Directory, count: int) -> list["asyncio.Task[Any]"]:
    return [asyncio.ensure_future(directory.show_model(ADA)) for _ in range(count)]


async def test_calls_of_one_turn_of_the_event_loop_share_a_message(
    handle: ActorHandle, directory: Directory
) -> None:
    views = await asyncio.gather(*tasks_of(directory, 300), directory.show_model(BEN))

    assert {view.model for view in views} == {ADA, BEN}
    assert handle.messages["call_many"] == 1


async def test_more_calls_than_a_message_carries_take_another(
    handle: ActorHandle, directory: Directory
) -> None:
    await asyncio.gather(*tasks_of(directory, 2 * CALLS_PER_MESSAGE_MAX + 1))

    assert handle.messages["call_many"] == 3


async def test_an_error_reaches_its_own_caller_only(directory: Directory) -> None:
    found, missing = await asyncio.gather(
        directory.show_model(ADA), directory.show_model(ModelId("acme", "nobody")), return_exceptions=True
    )

    assert not isinstance(found, BaseException)
    assert isinstance(missing, ModelNotFound)


async def test_a_call_that_waits_does_not_hold_up_its_neighbours(
    handle: ActorHandle, directory: Directory
) -> None:
    running = await grant_of(directory, turn_of(ADA, "op-1"))

    waiting = asyncio.ensure_future(directory.begin_turn(turn_of(ADA, "op-2")))
    neighbour = await directory.show_model(BEN)
    assert not waiting.done()
    await directory.abandon_turn(running, "its reader left")
    granted = await waiting

    assert neighbour.model == BEN
    assert isinstance(granted, TurnGrant)
    assert handle.messages["call_many"] == 3
    assert handle.messages["collect"] >= 1
    await directory.abandon_turn(granted, "the test ends")


async def test_callers_who_left_do_not_strand_those_who_wait_behind_them(
    handle: ActorHandle, directory: Directory
) -> None:
    leaving, staying = tasks_of(directory, CALLS_PER_MESSAGE_MAX), tasks_of(directory, 1)

    await asyncio.sleep(0)
    for task in leaving:
        task.cancel()

    assert (await staying[0]).model == ADA
    assert handle.messages["call_many"] == 1


async def test_a_turn_granted_to_a_caller_who_left_is_given_back(
    handle: ActorHandle, directory: Directory
) -> None:
    handle.answered.clear()
    handle.gate.clear()
    leaving = asyncio.ensure_future(directory.begin_turn(turn_of(ADA, "op-1")))
    await handle.answered.wait()

    leaving.cancel()
    handle.gate.set()

    assert (await take_turn(directory, turn_of(ADA, "op-2"))).position == 0
    assert leaving.cancelled()


async def test_a_turn_collected_for_a_caller_who_left_is_given_back(
    handle: ActorHandle, directory: Directory
) -> None:
    running = await grant_of(directory, turn_of(ADA, "op-1"))
    leaving = await queue_turn(directory, turn_of(ADA, "op-2"))
    abandoning = asyncio.ensure_future(directory.abandon_turn(running, "its reader left"))
    handle.answered.clear()
    handle.gate.clear()
    await handle.answered.wait()

    leaving.cancel()
    handle.gate.set()
    await abandoning

    assert (await take_turn(directory, turn_of(ADA, "op-3"))).position == 0


async def test_a_waiting_turn_that_came_before_its_caller_was_told_so_is_given_back(
    handle: ActorHandle, directory: Directory
) -> None:
    running = await grant_of(directory, turn_of(ADA, "op-1"))
    call: Call = ("begin_turn", (turn_of(ADA, "op-2"),), {})
    (waiting,) = (await handle.actor.call_many([call], "message", None)).results
    await directory.abandon_turn(running, "its reader left")

    await handle.actor.forget(waiting.token)

    assert (await take_turn(directory, turn_of(ADA, "op-3"))).position == 0


async def test_a_message_that_cannot_be_sent_fails_its_callers(
    handle: ActorHandle, directory: Directory
) -> None:
    handle.failure = TypeError("cannot pickle")

    outcomes = await asyncio.gather(*tasks_of(directory, 3), return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [TypeError] * 3


@pytest.mark.parametrize("lost", ["request", "answer"])
async def test_a_call_whose_message_is_lost_takes_effect_once(
    handle: ActorHandle, directory: Directory, lost: str
) -> None:
    cleo = ModelId("acme", "cleo")
    handle.losses = [lost, lost]

    created = await directory.create_model(cleo)

    assert created.model == cleo
    assert handle.messages["call_many"] == 3
    with pytest.raises(ModelExists):
        await directory.create_model(cleo)


async def test_a_grant_whose_answer_is_lost_is_answered_again_and_holds_the_model_once(
    handle: ActorHandle, directory: Directory
) -> None:
    handle.losses = ["answer"]
    grant = await grant_of(directory, turn_of(ADA, "op-1"))
    handle.losses = ["answer"]
    made = await directory.finish_turn(grant, reply())

    assert made.position == 0
    assert (await take_turn(directory, turn_of(ADA, "op-2"))).position == 1


async def test_a_collected_grant_whose_answer_is_lost_is_collected_again(
    handle: ActorHandle, directory: Directory
) -> None:
    running = await grant_of(directory, turn_of(ADA, "op-1"))
    handle.losses = [None, "answer"]
    waiting = asyncio.ensure_future(directory.begin_turn(turn_of(ADA, "op-2")))

    async def is_collected() -> bool:
        return handle.messages["collect"] > 0

    await wait_until(is_collected)
    await directory.abandon_turn(running, "its reader left")

    granted = await waiting

    assert isinstance(granted, TurnGrant)
    assert handle.messages["collect"] == 2
    await directory.abandon_turn(granted, "the test ends")


async def test_a_message_sent_again_does_not_run_in_the_successor_of_the_process_that_got_it(
    handle: ActorHandle,
) -> None:
    call: Call = ("show_model", (ADA,), {})

    (refused,) = (await handle.actor.call_many([call], "message", "the process before")).results

    assert isinstance(refused.error, HostUnavailable)


def test_a_host_that_failed_unexpectedly_is_named_with_what_happened() -> None:
    error = RayTaskError("collect", "Traceback ...\n  a stack", OSError(28, "No space left on device"))

    assert "No space left on device" in str(host_error("populace-host-0", error))


async def test_a_host_refuses_an_operation_that_it_does_not_know_by_its_name(handle: ActorHandle) -> None:
    calls: list[Call] = [("close", (), {}), ("_store.path", (), {})]

    refused = (await handle.actor.call_many(calls, "message", None)).results

    assert [type(failed.error) for failed in refused] == [HostUnavailable] * 2
    assert "`_store.path`" in str(refused[1].error)


def test_every_operation_is_a_method_of_a_host(tmp_path: Path) -> None:
    host = local_hosts(Store.create_or_open(tmp_path / "store", SHARDS), FakeClock())[0]

    assert {
        "begin_turn",
        "jobs.ask",
        "forgetting.forget",
        "memories.show",
        "members.share",
    } <= OPERATIONS.keys()
    assert all(callable(attrgetter(name)(host)) for name in OPERATIONS)
    host.close()


async def test_an_actor_that_cannot_be_reached_is_an_unavailable_host(
    handle: ActorHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_client, "RESEND_SECONDS", 0.001)
    handle.failure = ActorUnavailableError("gone", None)
    client = RayHostClient(handle, "populace-host-0")

    with recording() as spans:
        with TRACER.root("request"), pytest.raises(HostUnavailable):
            await client.call(Hosts.show_model, ADA)
        [call, _] = spans()

    assert told(call) == {names.HOST: "populace-host-0", names.ERROR_TYPE: HostUnavailable.code}


async def test_a_token_of_the_process_before_does_not_name_a_call_of_this_one(
    handle: ActorHandle, directory: Directory, tmp_path: Path
) -> None:
    former = HostActor(host_options(Store.create_or_open(tmp_path / "former", SHARDS)))
    call: Call = ("begin_turn", (turn_of(ADA, "op-2"),), {})
    await former.call("create_model", ADA)
    await former.call("begin_turn", turn_of(ADA, "op-1"))
    (stale,) = (await former.call_many([call], "message", None)).results
    running = await grant_of(directory, turn_of(ADA, "op-1"))

    (fresh,) = (await handle.actor.call_many([call], "message", None)).results

    assert isinstance(stale, Waiting)
    with pytest.raises(HostUnavailable, match="restarted meanwhile"):
        await handle.actor.collect(stale.token)
    for actor, waiting in ((handle.actor, fresh), (former, stale)):
        await actor.forget(waiting.token)
    await directory.abandon_turn(running, "the test ends")
    await former.close()


async def test_a_host_passivates_from_its_first_message_on(tmp_path: Path) -> None:
    store = Store.create_or_open(tmp_path / "store", SHARDS)
    options = host_options(store, limits=HostLimits(idle_seconds_max=0))
    actor = HostActor(options._replace(sweep_seconds=0.001))
    directory = ray_directory([ActorHandle(actor)], store)
    await directory.create_model(ADA)
    await take_turn(directory, turn_of(ADA))

    async def is_passive() -> bool:
        return not (await directory.show_model(ADA)).active

    await wait_until(is_passive)
    assert [one.passivations for one in await directory.statistics()] == [1]
    await actor.close()


async def test_a_host_knows_the_rewards_that_its_trainer_has(directory: Directory) -> None:
    tasks = [RewardTask((Message("user", "3 + 4?"),), {"answer": 7})] * 16

    with pytest.raises(InvalidRequest, match="There is no reward named `best`; there are exact, grader, "):
        await directory.jobs.ask(ADA, TrainingOptions(method="rl", reward="best"), tasks=tasks)

    job = await directory.jobs.ask(ADA, TrainingOptions(method="rl", reward="number"), tasks=tasks)
    assert job.options.reward == "number"


async def test_a_call_runs_for_the_request_of_its_caller(
    handle: ActorHandle, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if its message is sent again, and beside calls of other requests in the same message."""
    served: list[str | None] = []
    run = handle.actor._run

    async def watched(caller: str | None, name: str, *args: Any, **options: Any) -> Any:
        served.append(current_request_id())
        return await run(caller, name, *args, **options)

    monkeypatch.setattr(handle.actor, "_run", watched)
    monkeypatch.setattr(host_client, "RESEND_SECONDS", 0.001)
    handle.losses = ["answer"]
    with serving(Caller("req_1")):
        first = asyncio.ensure_future(directory.show_model(ADA))
    with serving(Caller("req_2")):
        second = asyncio.ensure_future(directory.show_model(BEN))
    await asyncio.gather(first, second, directory.show_model(ADA))

    assert served == ["req_1", "req_2", None]
    assert handle.messages["call_many"] == 2


async def test_a_call_of_a_release_that_sends_no_request_runs(handle: ActorHandle) -> None:
    call: Call = ("create_model", (ADA,), {})

    (created,) = (await handle.actor.call_many([call], "message", None)).results

    assert created.model == ADA


async def test_what_a_host_does_is_below_the_call_that_asked_for_it(
    handle: ActorHandle, directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if its message is sent again, and beside calls of other requests in the same message."""
    monkeypatch.setattr(host_client, "RESEND_SECONDS", 0.001)
    handle.losses = ["answer"]

    with recording() as spans:
        with serving(Caller("req_1")), TRACER.root("request"):
            first = asyncio.ensure_future(take_turn(directory, turn_of(ADA)))
        with serving(Caller("req_2")), TRACER.root("other"):
            second = asyncio.ensure_future(directory.show_model(BEN))
        await asyncio.gather(first, second, directory.show_model(ADA))
        found = spans()

    assert tree(found) == [
        "request",
        "  populace.host.begin_turn",
        "    populace.host.begin_turn",
        "      populace.activate",
        "      populace.mailbox.wait",
        "      populace.retrieve",
        "  populace.host.finish_turn",
        "    populace.host.finish_turn",
        "      populace.commit",
        "        populace.store.fsync",
        "other",
        "  populace.host.show_model",
        "    populace.host.show_model",
    ]
    assert len({trace_id_of(span) for span in found}) == 2


async def test_before_a_stop_turns_begin_for_those_alone_who_finish_what_they_have(
    handle: ActorHandle, directory: Directory
) -> None:
    stranger = ray_directory([handle], Store.open(Path((await handle.actor.describe()).data_directory)))
    client = directory.client_of(ADA)
    assert isinstance(client, RayHostClient)
    running = await grant_of(stranger, turn_of(BEN, "op-1"))

    await handle.actor.finish_for(frozenset({client.caller}))
    with pytest.raises(Draining):
        await stranger.begin_turn(turn_of(ADA, "op-2"))
    with pytest.raises(Draining):
        await handle.actor.call("begin_turn", turn_of(ADA, "op-3"))
    known = await grant_of(directory, turn_of(ADA, "op-4"))
    waiting = await queue_turn(directory, turn_of(ADA, "op-5"))

    ending = asyncio.ensure_future(handle.actor.end_turns(HANG_SECONDS))
    with pytest.raises(Draining):
        await waiting
    with pytest.raises(Draining):
        await directory.begin_turn(turn_of(BEN, "op-6"))
    await stranger.finish_turn(running, reply("one"))
    assert not ending.done()
    await directory.finish_turn(known, reply("two"))
    await ending

    assert [len(await directory.read_log(model)) for model in (ADA, BEN)] == [1, 1]
