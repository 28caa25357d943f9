"""A caller whose process is gone holds no turn, and none that it waited for is granted."""

import asyncio
import contextlib
import hmac
import socket
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest

from populace.actors.turn import ModelId
from populace.hosting import presence
from populace.hosting.directory.directory import Directory
from populace.hosting.directory.operations import Call
from populace.hosting.host_actor import FEW, Held, HeldGrants, HostActor
from populace.hosting.host_client import RayHostClient
from populace.hosting.messages import host_name
from populace.hosting.presence import Presence, PresenceAddress, PresenceListener
from populace.settings.ports import ONE_MACHINE_VARIABLE
from populace.storage.store import Store
from tests.actors.populations import SHARDS, host_options
from tests.actors.turns import grant_of, queue_turn, reply, take_turn, turn_of, wait_until
from tests.limits import HANG_SECONDS
from tests.runtime.hosting.test_host_actor import ActorHandle

ADA = ModelId("acme", "ada")
LOOPBACK = "127.0.0.1"
GONE = list[str]()
"""The callers of whom a listener said that they are gone."""


@pytest.fixture
async def actor(tmp_path: Path) -> AsyncGenerator[HostActor]:
    actor = HostActor(host_options(Store.create_or_open(tmp_path / "store", SHARDS)))
    await actor.check_integrity()
    await directory_of(actor).create_model(ADA)
    yield actor
    await actor.check_integrity()
    await actor.close()


async def test_where_no_other_machine_may_join_a_host_listens_on_its_own_alone(
    actor: HostActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ONE_MACHINE_VARIABLE, "1")

    assert (await actor.presence_address()).host == LOOPBACK
    assert (await actor.describe()).one_machine


def directory_of(actor: HostActor) -> Directory:
    """A directory of a caller of its own."""
    return Directory.over([RayHostClient(ActorHandle(actor), host_name(0))], shard_count=SHARDS)


def client_of(directory: Directory) -> RayHostClient:
    client = directory.client_of(ADA)
    assert isinstance(client, RayHostClient)
    return client


def handle_of(directory: Directory) -> ActorHandle:
    return client_of(directory).handle


def presence_of(directory: Directory) -> Presence:
    return client_of(directory)._presence


async def connected(actor: HostActor, directory: Directory) -> None:
    """Wait until the host has the caller's connection, which its first turn begins."""

    async def is_connected() -> bool:
        return actor._presence._callers[presence_of(directory).caller] > 0

    await wait_until(is_connected)


async def die(directory: Directory) -> None:
    """Do what a process that is killed does to its connection, and nothing else."""
    staying = presence_of(directory)._staying
    assert staying is not None
    staying.cancel()
    await asyncio.wait([staying])


async def test_a_turn_of_a_caller_that_is_gone_ends_and_so_does_what_it_waited_for(actor: HostActor) -> None:
    lost, other = directory_of(actor), directory_of(actor)
    await grant_of(lost, turn_of(ADA, "op-1"))
    await connected(actor, lost)
    waiting = await queue_turn(lost, turn_of(ADA, "op-2"))
    # It hears of nothing any more.
    handle_of(lost).gate.clear()

    await die(lost)

    async with asyncio.timeout(HANG_SECONDS):
        assert (await take_turn(other, turn_of(ADA, "op-3"))).position == 0
    waiting.cancel()
    assert len(actor._held) == 0


async def test_a_caller_whose_connection_breaks_and_comes_back_keeps_its_turn(
    actor: HostActor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "GRACE_SECONDS", HANG_SECONDS)
    monkeypatch.setattr(presence, "RETRY_SECONDS", 0.01)
    directory = directory_of(actor)
    grant = await grant_of(directory, turn_of(ADA, "op-1"))
    await connected(actor, directory)
    gone = list[str]()
    monkeypatch.setattr(actor._presence, "_on_gone", gone.append)

    for broken in tuple(actor._presence._connections):
        broken.end()
    await asyncio.sleep(0.05)
    await connected(actor, directory)
    actor._presence._look(presence_of(directory).caller)

    assert gone == []
    assert (await directory.finish_turn(grant, reply())).position == 0
    assert len(actor._held) == 0


async def test_a_turn_that_was_given_up_is_not_held(actor: HostActor) -> None:
    directory = directory_of(actor)
    grant = await grant_of(directory, turn_of(ADA, "op-1"))
    assert len(actor._held) == 1

    await directory.abandon_turn(grant, "its reader left")

    assert len(actor._held) == 0


@pytest.fixture
async def listener() -> AsyncGenerator[PresenceListener]:
    listener = PresenceListener(lambda: LOOPBACK, GONE.append)
    GONE.clear()
    yield listener
    await listener.close()


async def knock(address: PresenceAddress) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
    """Connect as a stranger does; returns the challenge too."""
    reader, writer = await asyncio.open_connection(address.host, address.port)
    return reader, writer, await reader.readexactly(32)


async def sent_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Wait until the host ends the connection."""
    async with asyncio.timeout(HANG_SECONDS):
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
    writer.close()


async def test_who_connects_and_says_no_name_is_sent_away(
    listener: PresenceListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "HELLO_SECONDS_MAX", 0.01)
    reader, writer, _ = await knock(await listener.address())
    writer.write(b"short")

    await sent_away(reader, writer)

    assert not listener._callers


async def test_a_stranger_who_saw_what_a_caller_answered_is_not_taken_for_it(
    listener: PresenceListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "GRACE_SECONDS", 0.01)
    name, address = b"n" * 32, await listener.address()
    reader, writer, challenge = await knock(address)
    answer = name + hmac.digest(address.key, challenge + name, "sha256")
    writer.write(answer)
    await wait_until(lambda: _is(listener._callers[name.hex()] == 1))

    strange_reader, stranger, _ = await knock(address)
    stranger.write(answer)
    await sent_away(strange_reader, stranger)
    await asyncio.sleep(0.05)
    assert listener._callers == {name.hex(): 1}
    assert GONE == []

    writer.close()
    await wait_until(lambda: _is([name.hex()] == GONE))
    assert await reader.read() == b""


async def test_strangers_leave_room_for_callers(
    listener: PresenceListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "NAMELESS_MAX", 3)
    strangers = [await knock(await listener.address()) for _ in range(10)]
    for reader, writer, _ in strangers[:7]:
        await sent_away(reader, writer)
    caller = Presence(listener.address)

    caller.begin()

    await wait_until(lambda: _is(listener._callers[caller.caller] == 1))
    assert len(listener._connections) <= 4
    assert caller._staying is not None
    caller._staying.cancel()
    for _, writer, _ in strangers[7:]:
        writer.close()


async def test_a_host_listens_on_a_port_that_was_chosen_and_tries_again_when_none_is_free(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listener = PresenceListener(lambda: LOOPBACK, GONE.append)
    with socket.create_server((LOOPBACK, 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setenv("POPULACE_STREAM_PORTS", f"{taken}-{taken}")
        for _ in range(2):
            with pytest.raises(OSError, match="are taken on this node; name more"):
                await listener.address()
    assert [record.levelname for record in caplog.records if record.name == presence.__name__] == ["WARNING"]

    address = await listener.address()

    assert (address.host, address.port) == (LOOPBACK, taken)
    assert address.key.hex() not in repr(address)
    assert str(address.key) not in repr(address)
    await listener.close()


async def _is(condition: bool) -> bool:
    return condition


def test_grants_whose_deadline_passed_are_not_kept_for_ever() -> None:
    held = HeldGrants()
    for number in range(10 * FEW):
        undo: Call = ("abandon_turn", (), {})
        held.hold(f"grant-{number}", Held("caller", undo, until_s=number + 1.0), now_s=float(number))

    assert len(held) <= 2 * FEW
    assert len(held.take("caller")) <= 2 * FEW
    assert len(held) == 0
