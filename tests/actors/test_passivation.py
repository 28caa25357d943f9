"""Passivation moves a model and changes nothing of it: bit for bit, in the store and in memory."""

import hashlib
from collections.abc import Callable

import pytest

from populace.actors.errors import HostOverloaded
from populace.actors.host.model_host import ModelHost
from populace.actors.host.personal_model import ACTIVATION_BYTES
from populace.actors.host_limits import HostLimits
from populace.actors.turn import ModelId, TurnGrant
from populace.storage.records import keys
from populace.storage.records.records import MemoryRecord
from populace.storage.records.transaction import WriteTransaction
from populace.storage.rows import ledger
from populace.storage.rows.ledger import StoredModel
from tests.actors.conftest import MakeHost
from tests.actors.fakes import FakeClock
from tests.actors.turns import grant_of, queue_turn, reply, revision, take_turn, turn_of
from tests.storage.samples import interaction

ADA, BEN = ModelId("acme", "ada"), ModelId("acme", "ben")
MEMORY = bytes(range(256)) * 16
LIMITS = HostLimits(resident_bytes_max=2 * ACTIVATION_BYTES + len(MEMORY) - 1, idle_seconds_max=300)
"""Room for one of the two."""


def by_name(host: ModelHost, clock: FakeClock) -> None:
    host.passivate(ADA)


def by_the_sweep(host: ModelHost, clock: FakeClock) -> None:
    clock.advance(300)
    host.passivate_idle()


Leave = Callable[[ModelHost, FakeClock], None]
ways = pytest.mark.parametrize("leave", [by_name, by_the_sweep])


def learn(txn: WriteTransaction) -> None:
    """Give Ada's next turn a memory state, and a cursor that says what she was trained on."""
    ledger.commit_turn(
        txn,
        *ADA,
        interaction(2, "learned"),
        body_hash=b"body",
        expected_position=2,
        expires_ms=2**60,
        now_ms=0,
        memory=MemoryRecord(version=1, payload=MEMORY),
    )
    head = ledger.read_head(txn, *ADA)
    txn.put(keys.head(*ADA), head.model_copy(update={"cursor": 2}).pack())


@pytest.fixture
async def host(make_host: MakeHost) -> ModelHost:
    host = make_host(limits=LIMITS)
    for model in (ADA, BEN):
        await host.create_model(model)
    await host.publish_revision(ADA, revision("one"))
    await host.publish_revision(ADA, revision("two"), "canary")
    for number in range(2):
        await take_turn(host, turn_of(ADA, f"op-{number}", history_of="main"))
    assert host.passivate(ADA)
    await host._owned.write(host._catalogue.shard(ADA), learn)
    await take_turn(host, turn_of(ADA, "op-3", history_of="main"))
    return host


def digest_of(host: ModelHost) -> str:
    """Digest every row of Ada, and what her activation knows of them: head, cursor, memory, aliases."""
    digest = hashlib.sha256()
    with host._owned.read(host._catalogue.shard(ADA)) as txn:
        for prefix in keys.model_prefixes(*ADA):
            for key, value in txn.scan(prefix):
                digest.update(b"%d %d " % (len(key), len(value)) + key + value)
    digest.update(bytes_of(host._active._active[ADA].stored))
    return digest.hexdigest()


def bytes_of(stored: StoredModel) -> bytes:
    memory = b"" if stored.memory is None else stored.memory.pack()
    aliases = repr(sorted(stored.aliases.items())).encode()
    return stored.identity.pack() + stored.head.pack() + memory + aliases


def waiting_of(host: ModelHost) -> list[str]:
    """The operations in Ada's mailbox, in their order."""
    return [queued.request.operation for queued in host._active._active[ADA]._mailbox._turns]


async def activate(host: ModelHost) -> TurnGrant:
    """Activate Ada with a turn that is given up; answers what she would have made it with."""
    grant = await grant_of(host, turn_of(ADA, "next", history_of="main"))
    await host.abandon_turn(grant, "only to activate")
    return grant


def made_with(grant: TurnGrant) -> tuple[object, ...]:
    return (
        grant.position,
        grant.revision,
        grant.adapter,
        grant.base,
        grant.memory_version,
        grant.history,
    )


@ways
async def test_passivation_and_activation_are_bit_identical(
    host: ModelHost, clock: FakeClock, leave: Leave
) -> None:
    granted = await activate(host)
    before, [statistics] = digest_of(host), await host.statistics()

    leave(host, clock)
    assert ADA not in host._active
    again = await activate(host)

    assert digest_of(host) == before
    assert made_with(again) == made_with(granted)
    assert (granted.position, granted.memory_version, len(granted.history)) == (4, 1, 3)
    assert (await host.show_model(ADA)).cursor == 2
    assert [one.resident_bytes for one in await host.statistics()] == [statistics.resident_bytes]


async def test_leaving_to_make_room_is_bit_identical_too(host: ModelHost) -> None:
    before = digest_of(host)

    await take_turn(host, turn_of(BEN))
    assert ADA not in host._active
    await activate(host)

    assert digest_of(host) == before


@ways
async def test_a_model_that_somebody_waits_for_is_not_passivated_and_its_mail_keeps_its_order(
    host: ModelHost, clock: FakeClock, leave: Leave
) -> None:
    running = await grant_of(host, turn_of(ADA, "first", turn_seconds_max=10_000))
    tasks = [
        await queue_turn(host, turn_of(ADA, operation, turn_seconds_max=10_000), waiting=number)
        for number, operation in enumerate(["second", "fourth", "third"], 1)
    ]
    before, order = digest_of(host), waiting_of(host)

    leave(host, clock)
    with pytest.raises(HostOverloaded):
        await host.begin_turn(turn_of(BEN))

    assert (digest_of(host), waiting_of(host)) == (before, order)
    await host.finish_turn(running, reply())
    for task in tasks:
        granted = await task
        assert isinstance(granted, TurnGrant)
        leave(host, clock)
        await host.finish_turn(granted, reply())
    assert [one.operation for one in await host.read_log(ADA, start=4)] == ["first", *order]
