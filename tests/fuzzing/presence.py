"""Answers to a host's challenge, as a stranger sends them who has seen those of callers."""

import asyncio
import contextlib
import hmac
import random
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from populace.hosting import presence as presence_module
from populace.hosting.presence import PresenceAddress, PresenceListener
from tests.fuzzing.mutation import mutated
from tests.limits import HANG_SECONDS

CALLER = b"c" * 32
"""The name of a caller that stays connected meanwhile."""

STRANGER = b"s" * 32
ANSWER_BYTES = 64
"""A name and its proof."""


class Fixed:
    """Stands for ``secrets``: keys and challenges are always the same, so that an input is what it was."""

    @staticmethod
    def token_bytes(count: int) -> bytes:
        return b"x" * count


class Port:
    """A host's listener. Whom it took for a caller, it says to be gone after the connection."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._gone: list[str] = []
        self._listener = PresenceListener(lambda: "127.0.0.1", self._gone.append)
        self._address: PresenceAddress = self._loop.run_until_complete(self._listener.address())
        _, self._caller, self._challenge = self._loop.run_until_complete(self._knock())
        self._caller.write(CALLER + self._proof(CALLER))

    def close(self) -> None:
        self._caller.close()
        self._loop.run_until_complete(self._listener.close())
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def made(self, source: random.Random) -> bytes:
        """Return in how many parts it is sent, and what is sent."""
        proof = self._proof(STRANGER)
        answers = [STRANGER + proof, CALLER + proof, STRANGER + source.randbytes(32)]
        answer = source.choice(answers)
        if source.random() < 0.8:
            answer = mutated(answer, answers, source)
        return bytes([source.choice((1, 1, 2, 64))]) + answer

    def feed(self, data: bytes) -> str:
        return self._loop.run_until_complete(self._answer(data[0], data[1:]))

    async def _answer(self, parts: int, answer: bytes) -> str:
        reader, writer, _ = await self._knock()
        step = max(1, -(-len(answer) // parts))
        with contextlib.suppress(OSError):
            for begin in range(0, len(answer), step):
                writer.write(answer[begin : begin + step])
                await writer.drain()
                await asyncio.sleep(0)
            writer.write_eof()
            async with asyncio.timeout(HANG_SECONDS):
                assert await reader.read() == b"", "a host says nothing more"
        writer.close()
        for _ in range(3):
            await asyncio.sleep(0)

        taken = tuple(self._gone)
        self._gone.clear()
        has_proved = answer[:ANSWER_BYTES] == STRANGER + self._proof(STRANGER)
        assert taken in {(), (STRANGER.hex(),)}, taken
        assert not taken or has_proved, "it proved nothing"
        assert taken or not has_proved or len(answer) > ANSWER_BYTES, "it proved its name"
        assert not self._caller.is_closing()
        return "a caller" if taken else "sent away"

    async def _knock(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, bytes]:
        reader, writer = await asyncio.open_connection(self._address.host, self._address.port)
        return reader, writer, await reader.readexactly(32)

    def _proof(self, name: bytes) -> bytes:
        return hmac.digest(self._address.key, self._challenge + name, "sha256")


@contextmanager
def presence() -> Generator[Port]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(presence_module, "secrets", Fixed)
        # Whoever is gone is said to be at once.
        patch.setattr(presence_module, "GRACE_SECONDS", 0.0)
        target = Port()
        yield target
        target.close()
