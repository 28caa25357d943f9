"""A teacher that is served elsewhere: a stronger model behind an OpenAI-compatible endpoint.

It is sent the turn that tells something and the question for it, and nothing else of anybody's log.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from populace.actors.engine import Message
from populace.actors.errors import TrainingFailed
from populace.learning.on_policy.record import GivenReply
from populace.learning.on_policy.teachers import REPLY_TOKENS
from populace.learning.wanted_work import while_wanted
from populace.policies.whole_replies import ends_open

REPLY_SECONDS_MAX = 60.0
"""How long one reply may take, from the connection to its last byte; the first one that takes longer ends
the job."""

REPLY_BYTES_MAX = 256 * 1024
"""The longest answer with one reply that is read: its ``REPLY_TOKENS`` take a hundredth of it."""

STREAMS = 4
"""The number of requests that are sent at once."""


@dataclass(frozen=True, slots=True)
class TeacherEndpoint:
    """A ``Teacher`` at ``url``, which ends in ``/v1``; ``key`` is its API key, None for none."""

    url: str
    model: str
    key: str | None = field(default=None, repr=False)
    seconds_max: float = REPLY_SECONDS_MAX

    def replies(self, name: str, prompts: Sequence[tuple[Message, ...]]) -> list[GivenReply]:
        return asyncio.run(self._replies(name, prompts))

    async def _replies(self, name: str, prompts: Sequence[tuple[Message, ...]]) -> list[GivenReply]:
        few = asyncio.Semaphore(STREAMS)

        async def reply_in_turn(prompt: tuple[Message, ...]) -> GivenReply:
            async with few:
                return await self._reply(client, name, prompt)

        # A timeout of httpx is one of each read, so that a byte now and then would be waited for without end.
        async with httpx.AsyncClient(timeout=None) as client:  # noqa: S113 - `_reply` has one for all of it
            asking = [asyncio.ensure_future(reply_in_turn(prompt)) for prompt in prompts]
            try:
                return await while_wanted(asyncio.gather(*asking))
            finally:
                # After the first failure, those that wait are not sent.
                for task in asking:
                    task.cancel()

    async def _reply(self, client: httpx.AsyncClient, name: str, prompt: tuple[Message, ...]) -> GivenReply:
        body = {
            "model": self.model,
            "messages": [message._asdict() for message in prompt],
            "temperature": 0,
            "max_tokens": REPLY_TOKENS,
        }
        try:
            async with asyncio.timeout(self.seconds_max):
                choice = json.loads(await self._answered(client, body))["choices"][0]
            text, is_stopped = _text(choice["message"]["content"]), choice["finish_reason"] == "stop"
        except TimeoutError as error:
            raise self._failed(name, f"did not reply within {self.seconds_max:g} s") from error
        except httpx.HTTPStatusError as error:
            raise self._failed(name, f"answered with status {error.response.status_code}") from error
        except (
            httpx.UnsupportedProtocol,
            httpx.LocalProtocolError,
            httpx.InvalidURL,
            UnicodeEncodeError,
        ) as error:
            raise self._failed(name, "has an address or an API key that cannot be sent") from error
        except httpx.HTTPError as error:
            raise self._failed(name, f"is not there ({type(error).__name__})") from error
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise self._failed(name, "did not answer like an OpenAI-compatible endpoint") from error
        return GivenReply(text, is_stopped and not ends_open(text))

    async def _answered(self, client: httpx.AsyncClient, body: dict[str, Any]) -> bytes:
        """Return the body of the answer. Raises ``ValueError`` if it is too long, and what httpx raises."""
        # Not compressed, since a part of what is compressed may be of any length.
        headers = {"Accept-Encoding": "identity"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        read = bytearray()
        url = f"{self.url}/chat/completions"
        async with client.stream("POST", url, json=body, headers=headers) as answered:
            answered.raise_for_status()
            async for part in answered.aiter_raw():
                read += part
                if len(read) > REPLY_BYTES_MAX:
                    raise ValueError(f"more than {REPLY_BYTES_MAX:,} bytes")
        return bytes(read)

    def _failed(self, name: str, what: str) -> TrainingFailed:
        return TrainingFailed(
            name,
            f"its teacher, {self.model} at {self.url}, {what}: see to it, or start Populace without "
            "POPULACE_TEACHER_URL, and train again",
        )


def _text(content: Any) -> str:
    """Return the text of a reply. Raises ``TypeError`` and ``ValueError`` if it is none that has tokens."""
    if not isinstance(content, str):
        raise TypeError(type(content).__name__)
    if any("\ud800" <= sign <= "\udfff" for sign in content):
        raise ValueError("half of a surrogate pair, which JSON may have and no text")
    return content.strip()
