"""A teacher that is served elsewhere: a stronger model behind an OpenAI-compatible endpoint.

It is sent the turn that tells something and the question for it, and nothing else of anybody's log.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx

from populace.actors.engine import Message
from populace.actors.errors import TrainingFailed
from populace.learning.on_policy.record import GivenReply
from populace.learning.on_policy.teachers import REPLY_TOKENS
from populace.policies.whole_replies import ends_open

REPLY_SECONDS_MAX = 60.0
"""How long one reply may take; the first one that takes longer ends the job."""

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
        headers = {} if self.key is None else {"Authorization": f"Bearer {self.key}"}
        with (
            httpx.Client(timeout=self.seconds_max, headers=headers) as client,
            ThreadPoolExecutor(STREAMS, thread_name_prefix="teacher") as pool,
        ):
            try:
                return list(pool.map(partial(self._reply, client, name), prompts))
            finally:
                # After the first failure, those that wait are not sent.
                pool.shutdown(wait=False, cancel_futures=True)

    def _reply(self, client: httpx.Client, name: str, prompt: tuple[Message, ...]) -> GivenReply:
        body = {
            "model": self.model,
            "messages": [message._asdict() for message in prompt],
            "temperature": 0,
            "max_tokens": REPLY_TOKENS,
        }
        try:
            answered = client.post(f"{self.url}/chat/completions", json=body)
            answered.raise_for_status()
            choice = answered.json()["choices"][0]
            text, is_stopped = _text(choice["message"]["content"]), choice["finish_reason"] == "stop"
        except httpx.TimeoutException as error:
            raise self._failed(name, f"did not reply within {self.seconds_max:g} s") from error
        except httpx.HTTPStatusError as error:
            raise self._failed(name, f"answered with status {error.response.status_code}") from error
        except httpx.HTTPError as error:
            raise self._failed(name, f"is not there ({type(error).__name__})") from error
        except (ValueError, LookupError, TypeError) as error:
            raise self._failed(name, "did not answer like an OpenAI-compatible endpoint") from error
        return GivenReply(text, is_stopped and not ends_open(text))

    def _failed(self, name: str, what: str) -> TrainingFailed:
        return TrainingFailed(
            name,
            f"its teacher, {self.model} at {self.url}, {what}: see to it, or start Populace without "
            "POPULACE_TEACHER_URL, and train again",
        )


def _text(content: Any) -> str:
    if not isinstance(content, str):
        raise TypeError(type(content).__name__)
    return content.strip()
