"""Two hosts against a dict, in every order that hypothesis can think of, with crashes and bad clocks."""

import asyncio
import functools
from collections.abc import Generator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule, run_state_machine_as_test

from populace.actors.errors import MailboxFull, TurnExpired
from populace.actors.hosts import ModelView
from populace.actors.turn import Interaction, TurnGrant, TurnRequest
from populace.policies.retrieval import Retrieval
from populace.storage.records.errors import (
    Fenced,
    ModelExists,
    ModelNotFound,
    OperationConflict,
    PositionConflict,
)
from populace.storage.rows.portable import PortableModel
from tests.actors.expected_model import LIMITS, ExpectedModel
from tests.actors.hosts_under_test import NAMES, Held, HostsUnderTest, Left, Waiting, kill, outcome_of, settle
from tests.actors.rival_host import Rival
from tests.actors.turns import grant_of, message, reply, revision, turn_of, wait_until
from tests.torture import amounts

FOREVER_S = 1e12
MOMENT_S = 2**-9
"""Two models are not created in one millisecond. A power of two, so that sums of seconds are exact."""
DAY_S = 24 * 3600.0

names = st.sampled_from(NAMES)
operations = st.sampled_from(["op-1", "op-2", "op-3"])
bodies = st.sampled_from([b"one", b"one", b"two"])
seeds = st.sampled_from(["one", "two"])


@functools.cache
def rival() -> Rival:
    return Rival()


@pytest.fixture(scope="module", autouse=True)
def rival_ends() -> Generator[None]:
    yield
    with rival():
        rival.cache_clear()


class HostMachine(HostsUnderTest):
    @initialize()
    def begin(self) -> None:
        # Most rules need a model; those that delete leave enough steps without one.
        for name, seed in zip(NAMES, ("one", "two", None), strict=True):
            self.create(name, seed)

    @rule(name=names, seed=st.none() | seeds)
    def create(self, name: str, seed: str | None) -> None:
        published = None if seed is None else revision(seed)
        outcome = self.run(outcome_of(self.host(name).create_model(self.model(name), published)))

        assert isinstance(outcome, ModelExists) == (name in self.models)
        if name not in self.models:
            aliases = {} if published is None else {"latest": published.digest}
            self.models[name] = ExpectedModel(aliases=aliases)
            self.clock.advance(MOMENT_S)

    @rule(name=names, operation=operations, body=bodies)
    def turn(self, name: str, operation: str, body: bytes) -> None:
        request = turn_of(self.model(name), operation, body=body)

        async def take() -> None:
            task = asyncio.ensure_future(self.host(name).begin_turn(request))
            await settle()
            waiting = self.held[name].waiting if name in self.held else []
            if name in self.held and not task.done():
                waiting.append(Waiting(request, task))
                return
            outcome = await outcome_of(task)
            if isinstance(outcome, MailboxFull):
                assert len(waiting) == LIMITS.mailbox_max
            else:
                await self.answered(name, request, outcome)

        self.run(take())

    @rule(name=names, rounds=st.integers(1, 5))
    def turns_at_once(self, name: str, rounds: int) -> None:
        """Ask for two turns at once, and for each of them twice: in the order of arrival, and each once."""
        if name in self.held or name not in self.models:
            return

        async def take(request: TurnRequest) -> Interaction:
            begun = await self.host(name).begin_turn(request)
            if isinstance(begun, Interaction):
                return begun
            granted = await self.host(name).accept_turn(begun, message())
            return await self.host(name).finish_turn(granted, reply(f"reply {next(self.numbers)}"))

        async def take_all() -> None:
            for _ in range(rounds):
                one, two = (turn_of(self.model(name), f"once-{next(self.numbers)}") for _ in range(2))
                made = await asyncio.gather(take(one), take(two), take(one), take(two))
                for request, first, again in zip((one, two), made[:2], made[2:], strict=True):
                    assert not first.replayed
                    self.models[name].append(first, request.body_hash, self.now_s)
                    self.models[name].check_replay(request, again)

        self.run(take_all())

    @rule(name=names, count=st.integers(1, 16))
    def ask(self, name: str, count: int) -> None:
        """What a turn gets of its log is all that is kept of it, or as many as it asked for, each once."""
        if name in self.held or name not in self.models:
            return
        wanted = Retrieval(("reply", "late"), count)
        request = replace(turn_of(self.model(name), f"ask-{next(self.numbers)}"), retrieval=wanted)

        async def look() -> tuple[TurnGrant, ModelView]:
            await self.finish_looks()
            turn = await grant_of(self.host(name), request)
            await self.host(name).abandon_turn(turn, "it was only looked at")
            return turn, await self.host(name).show_model(self.model(name))

        turn, view = self.run(look())
        kept = self.models[name].log[view.log_start :]
        newest = {one.reply: one.position for one in kept if one.reply.startswith(("reply", "late"))}
        got = {one.answered: one.position for one in turn.retrieved}
        assert len(got) == len(turn.retrieved) == min(count, len(newest))
        assert got.items() <= newest.items()

    @rule(name=names, operation=operations)
    def hold(self, name: str, operation: str) -> None:
        """Begin a turn that stays in flight over the steps to come."""
        request = turn_of(self.model(name), operation, turn_seconds_max=FOREVER_S)
        expected = self.models.get(name)
        if name in self.held or expected is None:
            return
        outcome = self.run(outcome_of(self.host(name).begin_turn(request)))
        if isinstance(outcome, TurnGrant):
            assert operation not in expected.taken or not expected.taken[operation].is_kept(self.now_s)
            assert outcome.position == len(expected.log) - outcome.goes_on
            self.held[name] = Held(outcome, [])
        else:
            self.run(self.answered(name, request, outcome))

    @rule(name=names)
    def accept_held(self, name: str) -> None:
        """Commit the message of the turn in flight, which may get its reply later, or never."""
        if name in self.held:
            held = self.held[name]
            granted = self.run(self.accept(name, held.grant))
            self.held[name] = held._replace(grant=granted, is_new=held.is_new or not granted.goes_on)

    @rule(name=names, committed=st.booleans(), refused=st.booleans())
    def end(self, name: str, committed: bool, refused: bool) -> None:
        held = self.held.pop(name, None)
        if held is not None:
            self.run(self.end_held(name, held, committed=committed, refused=refused))

    @rule(name=names, overtaken=st.booleans())
    def finish_for_a_host_that_is_gone(self, name: str, overtaken: bool) -> None:
        if name in self.held or name not in self.left:
            return
        if overtaken:
            self.turns_at_once(name, 1)
        grant, model = self.left.pop(name)
        outcome = self.run(outcome_of(self.host(name).finish_turn(grant, reply("late"))))
        expected = self.models.get(name)
        if expected is None:
            assert isinstance(outcome, ModelNotFound)
        elif isinstance(outcome, ModelNotFound):
            assert expected is not model, "only a namesake's reply is turned away"
        elif isinstance(outcome, OperationConflict):
            assert expected.body_of(grant.operation) != grant.body_hash
        elif isinstance(outcome, PositionConflict):
            assert grant.position != len(expected.log)
        elif isinstance(outcome, Interaction) and outcome.replayed:
            expected.check_replay(grant.request, outcome)
        else:
            assert isinstance(outcome, Interaction), outcome
            assert expected is model, "a reply to a deleted model is in its namesake's log"
            assert outcome.position == grant.position
            expected.append(outcome, grant.body_hash, self.now_s)

    @rule(name=names, accepted=st.booleans())
    def expire(self, name: str, accepted: bool) -> None:
        if name in self.held or name not in self.models:
            return

        async def overrun() -> None:
            request = turn_of(self.model(name), f"late-{next(self.numbers)}", turn_seconds_max=30)
            grant = await grant_of(self.host(name), request)
            if accepted:
                grant = await self.accept(name, grant)
            self.clock.advance(30)
            with pytest.raises(TurnExpired):
                await self.host(name).finish_turn(grant, reply())

        self.run(overrun())

    @rule(name=names)
    def passivate(self, name: str) -> None:
        async def leave() -> None:
            host = self.host(name)
            before = await outcome_of(host.show_model(self.model(name)))
            is_active = not isinstance(before, BaseException) and before.active
            assert host.passivate(self.model(name)) == (is_active and name not in self.held)

        self.run(leave())

    @rule(name=names, seconds=st.sampled_from([190.0, 480.0, 600.0]))
    def grow_old(self, name: str, seconds: float) -> None:
        """Leave a log to itself that is long enough to be looked at."""
        self.turns_at_once(name, 2)
        self.run(self.finish_looks())
        self.clock.advance(seconds)
        self.passivate(name)

    @rule()
    def sweep(self) -> None:
        async def leave() -> None:
            self.clock.advance(LIMITS.idle_seconds_max)
            for host in self.hosts:
                [before] = await host.statistics()
                assert host.passivate_idle() == before.active - before.busy
                assert [one.active for one in await host.statistics()] == [before.busy]

        self.run(leave())

    @rule()
    def crash(self) -> None:
        self.run(self.die())

    async def die(self) -> None:
        for host in self.hosts:
            await kill(host)
        await self.leave(asyncio.CancelledError)
        self.open_hosts()

    @rule(
        name=names,
        operation=operations,
        moment=st.sampled_from(["asked", "begun", "begun", "answered"]),
        answered=st.booleans(),
    )
    def crash_in_a_commit(self, name: str, operation: str, moment: str, answered: bool) -> None:
        """What was not acknowledged may be durable all the same, once and as it was sent.

        It is a turn with its reply, or its message alone.
        """
        self.hold(name, operation)
        if name not in self.held:
            return

        async def die() -> None:
            host, held = self.host(name), self.held.pop(name)
            committer = host._owned._open[host._catalogue.shard(held.grant.model)].committer
            committing = (
                host.finish_turn(held.grant, reply("in flight"))
                if answered
                else host.accept_turn(held.grant, message("in flight"))
            )
            commit = asyncio.ensure_future(committing)
            acknowledged = await commit if moment == "answered" else None

            async def is_begun() -> bool:
                return committer._in_hand > 0 or commit.done()

            if moment == "begun":
                await wait_until(is_begun)
            await self.die()
            made = await self.host(name).read_log(held.grant.model, start=held.grant.position)
            if isinstance(acknowledged, Interaction):
                assert made == (acknowledged,)
            assert acknowledged is None or made
            for one in made:
                if one in self.models[name].log:  # accepted earlier, and perhaps once more
                    assert one.answer is None
                    continue
                assert "in flight" in (one.reply, one.messages[0].content)
                assert (one.operation, one.answer is not None) == (held.grant.operation, answered)
                self.models[name].append(one, held.grant.body_hash, self.now_s)
            for request, task in held.waiting:
                outcome = await outcome_of(task)
                if isinstance(outcome, OperationConflict):
                    assert request.operation == held.grant.operation
                    assert request.body_hash != held.grant.body_hash
                else:
                    assert isinstance(outcome, (TurnGrant, Interaction, asyncio.CancelledError))
            self.left[name] = Left(held.grant, self.models[name])

        self.run(die())

    @rule(name=names, takes_turn=st.booleans())
    def fence(self, name: str, takes_turn: bool) -> None:
        """Another process takes over; the hosts that still live get nothing into the store."""

        async def be_replaced() -> None:
            turn_of_rival = f"rival-{next(self.numbers)}"
            model = self.model(name) if takes_turn and name in self.models else None
            position = rival().take_over(self.store, model, turn_of_rival, "the rival's")
            for each in NAMES:
                await self.check_fenced(each)
            await self.leave(Fenced)
            for host in self.hosts:
                host.close()
            self.open_hosts()
            if model is not None:
                assert position is not None
                [made] = await self.host(name).read_log(model, start=position)
                assert (made.operation, made.reply) == (turn_of_rival, "the rival's")
                self.models[name].append(made, b"body", self.now_s)

        self.run(be_replaced())

    async def check_fenced(self, name: str) -> None:
        host, model = self.host(name), self.model(name)
        if name in self.held:
            assert isinstance(await outcome_of(host.finish_turn(self.held[name].grant, reply())), Fenced)
        elif name in self.models:
            begun = await outcome_of(host.begin_turn(turn_of(model, f"zombie-{next(self.numbers)}")))
            if isinstance(begun, TurnGrant):
                begun = await outcome_of(host.finish_turn(begun, reply()))
            assert isinstance(begun, Fenced), begun
        for call in (host.create_model(model), host.publish_revision(model, revision("zombie"))):
            assert isinstance(await outcome_of(call), Fenced)

    @rule()
    def move_shards(self) -> None:
        self.close_hosts()
        self.moves += 1
        self.open_hosts()

    @rule()
    def compact_shards(self) -> None:
        for host in self.hosts:
            self.run(host.compact_shards())

    @rule(name=names, committed=st.booleans())
    def delete(self, name: str, committed: bool) -> None:
        async def remove() -> None:
            deletion = asyncio.ensure_future(self.host(name).erase_model(self.model(name)))
            await settle()
            held = self.held.pop(name, None)
            if held is not None:
                assert not deletion.done()
                for _, task in held.waiting:
                    assert isinstance(await outcome_of(task), ModelNotFound)
                await self.end_held(name, Held(held.grant, []), committed=committed)
            assert isinstance(await outcome_of(deletion), ModelNotFound) == (name not in self.models)
            self.models.pop(name, None)

        self.run(remove())

    @rule(name=names, to=names)
    def carry(self, name: str, to: str) -> None:
        """Export a model, with whatever is in flight of it, and import it under a name of its own."""
        exported = self.run(outcome_of(self.host(name).export_model(self.model(name))))
        expected = self.models.get(name)
        if expected is None:
            assert isinstance(exported, ModelNotFound)
            return
        assert isinstance(exported, PortableModel)

        outcome = self.run(outcome_of(self.host(to).import_model(self.model(to), exported)))

        assert isinstance(outcome, ModelExists) == (to in self.models)
        if to not in self.models:
            self.models[to] = expected.carried(self.model(to), self.now_s)

    @rule(name=names, seed=seeds, alias=st.sampled_from(["latest", "canary"]))
    def publish(self, name: str, seed: str, alias: str) -> None:
        published = revision(seed)
        outcome = self.run(outcome_of(self.host(name).publish_revision(self.model(name), published, alias)))

        assert isinstance(outcome, ModelNotFound) == (name not in self.models)
        if name in self.models:
            self.models[name].aliases[alias] = published.digest

    @rule(seconds=st.sampled_from([1.0, 100.0, 250.0, 600.0]))
    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule(days=st.sampled_from([-3650, -3, -1, 1, 3, 3650]))
    def set_the_clock(self, days: int) -> None:
        self.clock.jump(days * DAY_S)


@pytest.mark.parametrize("examples", amounts(40, sample=10))
def test_whatever_is_asked_of_hosts_they_answer_as_one_expects(examples: int) -> None:
    once = settings(
        max_examples=examples,
        stateful_step_count=30,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    run_state_machine_as_test(  # pyright: ignore[reportUnknownMemberType] - partly untyped
        HostMachine, settings=once
    )
