"""Two hosts over one store, the turns that are in flight on them, and what a dict expects of both."""

import asyncio
import itertools
import tempfile
from collections.abc import Awaitable, Coroutine
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from unittest import mock

import pytest
from hypothesis.stateful import RuleBasedStateMachine, invariant

from populace.actors.errors import HostUnavailable
from populace.actors.host.model_host import ModelHost
from populace.actors.keepers import log_compactor
from populace.actors.turn import Interaction, ModelId, TurnGrant, TurnRequest
from populace.policies.placement import shard_of
from populace.storage.records.errors import ModelNotFound, OperationConflict, PopulaceError
from populace.storage.shards.ownership import stored_epoch, stored_owner
from populace.storage.store import Store
from tests.actors.expected_model import LIMITS, ExpectedModel
from tests.actors.fakes import BASE, FakeClock
from tests.actors.turns import message, reply, turn_of
from tests.limits import HANG_SECONDS

T = TypeVar("T")

TENANT = "acme"
NAMES = ("a", "b", "c")
HOSTS = SHARDS = 2
CENTURIES_S = 1e10
"""However often a step sets the clock back by years, it stays after 1970, before which no archive is."""


class Waiting(NamedTuple):
    """A turn that was asked for behind a running one."""

    request: TurnRequest
    task: "asyncio.Task[TurnGrant | Interaction]"


class Held(NamedTuple):
    """A model's running turn, and those that wait behind it in the order in which they came.

    ``is_new``: its message was accepted, and was not before.
    """

    grant: TurnGrant
    waiting: list[Waiting]
    is_new: bool = False


async def settle() -> None:
    """Let every task run that needs no disk."""
    for _ in range(5):
        await asyncio.sleep(0)


async def kill(host: ModelHost) -> None:
    """End the host as the death of its process does: it commits no more, and answers nobody."""
    for owned in host._owned._open.values():
        owned.shard.close()
        owned.committer.close()
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


class Left(NamedTuple):
    """A grant of a host that is gone, and the model that it was for, which may be deleted since."""

    grant: TurnGrant
    model: ExpectedModel


class HostsUnderTest(RuleBasedStateMachine):
    """``left`` are grants of hosts that are gone; their callers may still bring the replies."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.eager_looks = mock.patch.object(log_compactor, "TURNS_BETWEEN_LOOKS", 4)
        self.eager_looks.start()
        self.runner = asyncio.Runner()
        self.store = Store.create_or_open(Path(self.directory.name) / "store", SHARDS)
        self.clock = FakeClock()
        self.clock.jump(CENTURIES_S)
        self.models: dict[str, ExpectedModel] = {}
        self.held: dict[str, Held] = {}
        self.left: dict[str, Left] = {}
        self.numbers = itertools.count()
        self.moves = 0
        self.hosts: list[ModelHost] = []
        self.open_hosts()

    def teardown(self) -> None:
        self.close_hosts()
        self.runner.close()
        self.eager_looks.stop()
        self.directory.cleanup()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def bounded() -> T:
            async with asyncio.timeout(HANG_SECONDS):
                return await work

        return self.runner.run(bounded())

    def open_hosts(self) -> None:
        self.hosts = [
            ModelHost(
                f"host-{number}",
                self.store,
                [(number + self.moves) % SHARDS],
                base=BASE.fingerprint,
                clock=self.clock,
                limits=LIMITS,
            )
            for number in range(HOSTS)
        ]

    def close_hosts(self) -> None:
        async def close() -> None:
            for host in self.hosts:
                host.close()
            await self.leave(HostUnavailable)
            await settle()

        self.run(close())

    async def leave(self, *errors: type[BaseException]) -> None:
        """The hosts are gone: those who waited got one of ``errors``, and who held a turn keeps its grant."""
        for name, held in self.held.items():
            self.left[name] = Left(held.grant, self.models[name])
            for _, task in held.waiting:
                assert type(await outcome_of(task)) in errors
        self.held = {}

    def host(self, name: str) -> ModelHost:
        return self.hosts[(shard_of(TENANT, name, SHARDS) - self.moves) % HOSTS]

    def model(self, name: str) -> ModelId:
        return ModelId(TENANT, name)

    @property
    def now_s(self) -> float:
        return self.clock.monotonic()

    async def commit(self, name: str, grant: TurnGrant) -> Interaction:
        made = await self.host(name).finish_turn(grant, reply(f"reply {next(self.numbers)}"))
        self.models[name].append(made, grant.body_hash, self.now_s)
        return made

    async def accept(self, name: str, grant: TurnGrant) -> TurnGrant:
        granted = await self.host(name).accept_turn(grant, message())
        made = (await self.host(name).read_log(grant.model, start=grant.position))[0]
        assert (made.operation, made.answer) == (grant.operation, None)
        self.models[name].append(made, grant.body_hash, self.now_s)
        return granted

    async def answered(
        self, name: str, request: TurnRequest, outcome: TurnGrant | Interaction | BaseException
    ) -> None:
        """Check what a turn's caller got, and commit the turn if it is granted."""
        if isinstance(outcome, ModelNotFound):
            assert name not in self.models
        elif isinstance(outcome, OperationConflict):
            assert self.models[name].body_of(request.operation) != request.body_hash
        elif isinstance(outcome, Interaction):
            self.models[name].check_replay(request, outcome)
        else:
            assert not isinstance(outcome, BaseException), outcome
            assert outcome.position == len(self.models[name].log) - outcome.goes_on
            await self.commit(name, outcome)

    async def end_held(self, name: str, held: Held, *, committed: bool, refused: bool = False) -> None:
        """End the running turn; each that waited has its turn next, in the order of arrival."""
        if committed:
            await self.commit(name, held.grant)
        else:
            refused = refused and held.is_new
            await self.host(name).abandon_turn(held.grant, "its reader left", refused=refused)
            if refused:
                self.models[name].withdraw(held.grant.operation)
        for number, (request, task) in enumerate(held.waiting):
            outcome = await outcome_of(task)
            await settle()
            granted = [one.task.done() for one in held.waiting[number + 1 :]]
            assert not (isinstance(outcome, TurnGrant) and any(granted)), "two turns of a model overlap"
            await self.answered(name, request, outcome)

    @invariant()
    def the_hosts_say_what_the_dict_says(self) -> None:
        self.run(self.check())

    async def finish_looks(self) -> None:
        for host in self.hosts:
            await asyncio.gather(*host._logs._looks.values())

    async def check(self) -> None:
        await self.finish_looks()
        for host in self.hosts:
            host.check_integrity()
            for number, owned in host._owned._open.items():
                owned.shard.check_integrity()
                with owned.shard.read() as txn:
                    assert stored_epoch(txn) == owned.shard.epoch
                    assert (stored_owner(txn) or "").startswith(host.name)
                assert number == (self.hosts.index(host) + self.moves) % SHARDS
        for name in self.held:
            assert not self.host(name).passivate(self.model(name)), "a busy model is never passivated"
        for name in NAMES:
            await self.check_model(name)
        waiting = [one.waiting for host in self.hosts for one in await host.statistics()]
        assert sum(waiting) == sum(len(held.waiting) for held in self.held.values())

    async def check_model(self, name: str) -> None:
        host, model, expected = self.host(name), self.model(name), self.models.get(name)
        if expected is None:
            for call in (host.show_model(model), host.read_log(model), host.begin_turn(turn_of(model))):
                assert isinstance(await outcome_of(call), ModelNotFound)
            return
        view = await host.show_model(model)
        expected.check_kept(view, await host.read_log(model), self.now_s)
        for operation, taken in expected.taken.items():
            if taken.is_kept(self.now_s):
                request = turn_of(model, operation, body=taken.body)
                answer = await host.begin_turn(request)
                assert isinstance(answer, Interaction)
                expected.check_replay(request, answer)
                with pytest.raises(OperationConflict):
                    await host.begin_turn(turn_of(model, operation, body=b"another"))


async def outcome_of(call: Awaitable[T]) -> T | PopulaceError | asyncio.CancelledError:
    """Wait for a call; answer what it returned or raised."""
    try:
        return await call
    except (PopulaceError, asyncio.CancelledError) as error:
        return error
