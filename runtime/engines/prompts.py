# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# transformers' tokenizer methods have untyped keyword arguments.
"""From a prompt to token ids, and from a token id to its text: the same for every engine."""

import asyncio
import functools
import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, cast

from tokenizers import Tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from populace.actors.engine import Message, Prompt
from populace.actors.errors import InvalidRequest

INLINE_CHARACTERS_MAX = 2000
"""A prompt up to this long is tokenised where it is asked for: about 0.5 ms, and a thread costs 0.2 ms."""


class PromptTokens(NamedTuple):
    """A prompt's token ids, and the ranges [start, stop) of those that a memory takes in, by message."""

    ids: list[int]
    spans: tuple[tuple[int, int], ...] = ()


class BaseTokenizer:
    """The base model's tokenizer, chat template and end-of-sequence ids."""

    def __init__(self, base_directory: Path) -> None:
        loaded = AutoTokenizer.from_pretrained(str(base_directory), local_files_only=True)
        self._tokenizer = cast("PreTrainedTokenizerFast", loaded)
        self._vocabulary_size = len(self._tokenizer)
        self.eos_ids = _eos_ids(base_directory, cast("int | None", self._tokenizer.eos_token_id))
        self._text = functools.lru_cache(maxsize=65536)(self._decode)
        # One thread: it keeps a long prompt (about 1 ms per 1,000 tokens) off the event loop,
        # and Hugging Face's fast tokenizers must not be entered by two threads at once.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tokenizer")
        self._last: Future[PromptTokens] | None = None

    @property
    def backend(self) -> Tokenizer:
        return self._tokenizer.backend_tokenizer

    async def tokens(self, prompt: Prompt, new_from: int | None = None) -> PromptTokens:
        """Render and tokenise, a long prompt off the event loop; see ``tokens_of``."""
        thread_is_idle = self._last is None or self._last.done()
        if thread_is_idle and _characters(prompt) <= INLINE_CHARACTERS_MAX:
            return self.tokens_of(prompt, new_from)
        self._last = self._thread.submit(self.tokens_of, prompt, new_from)
        # Shielded: were it cancelled while it waits, it would look done with another one still running.
        return await asyncio.shield(asyncio.wrap_future(self._last))

    def tokens_of(self, prompt: Prompt, new_from: int | None = None) -> PromptTokens:
        """Chat messages through the chat template, text with the tokenizer's own markers, ids as they are.

        The spans are those of the messages from ``new_from`` on, system messages left out. A message's
        span begins with its content and ends where the next one's begins, or with the prompt.

        Raises:
            InvalidRequest: the prompt is empty, the template refuses it, or an id is not in the vocabulary.
        """
        if isinstance(prompt, str):
            ids = self._tokenizer.encode(prompt)
        elif prompt and isinstance(prompt[0], Message):
            messages = cast("tuple[Message, ...]", prompt)
            ids = self._render(messages)
            if new_from is not None:
                return PromptTokens(ids, self._message_spans(messages, ids, new_from))
        else:
            ids = list(cast("tuple[int, ...]", prompt))
            if any(not 0 <= token_id < self._vocabulary_size for token_id in ids):
                raise InvalidRequest(f"Token ids must be from 0 to {self._vocabulary_size - 1}.", "prompt")
        if not ids:
            raise InvalidRequest("The prompt is empty.", "prompt")
        return PromptTokens(ids, () if new_from is None else ((0, len(ids)),))

    def token_text(self, token_id: int) -> str:
        """The text of one token alone; a part of a multi-byte character reads as U+FFFD."""
        return self._text(token_id)

    def text(self, ids: Sequence[int]) -> str:
        """The text of a reply, without special tokens."""
        return cast("str", self._tokenizer.decode(list(ids), skip_special_tokens=True))

    def close(self) -> None:
        self._thread.shutdown(wait=False)

    def _render(self, messages: tuple[Message, ...]) -> list[int]:
        conversation = [{"role": message.role, "content": message.content} for message in messages]
        try:
            rendered = self._tokenizer.apply_chat_template(
                conversation, tokenize=True, add_generation_prompt=True, return_dict=False
            )
        except Exception as error:  # templates raise jinja2 errors, ValueError, TypeError at will
            raise InvalidRequest(
                f"The base model's chat template refused the messages: {error}", "messages"
            ) from error
        return cast("list[int]", rendered)

    def _message_spans(
        self, messages: tuple[Message, ...], ids: list[int], new_from: int
    ) -> tuple[tuple[int, int], ...]:
        """Find where a content begins as the first token that another content would change.

        That holds for any template, whatever it writes around the messages or says by itself.
        """
        starts = [
            _common(ids, self._render((*messages[:index], _altered(messages[index]), *messages[index + 1 :])))
            for index in range(new_from, len(messages))
        ]
        stops = [*starts[1:], len(ids)]
        return tuple(
            (start, stop)
            for start, stop, message in zip(starts, stops, messages[new_from:], strict=True)
            if message.role != "system" and start < stop
        )

    def _decode(self, token_id: int) -> str:
        return cast("str", self._tokenizer.decode([token_id]))


def _altered(message: Message) -> Message:
    """The same message with a content that begins with another character."""
    return message._replace(content="1" if message.content.lstrip().startswith("0") else "0")


def _common(one: list[int], other: list[int]) -> int:
    """The length of the longest common prefix."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def _characters(prompt: Prompt) -> int:
    return sum(len(part.content) if isinstance(part, Message) else 1 for part in prompt)


def _eos_ids(base_directory: Path, tokenizer_eos: int | None) -> frozenset[int]:
    """Every id that ends a reply. Models name them in up to three places, and they differ."""
    ids = set[int]() if tokenizer_eos is None else {tokenizer_eos}
    for name in ("config.json", "generation_config.json"):
        path = base_directory / name
        if path.exists():
            named = cast("int | list[int] | None", json.loads(path.read_text()).get("eos_token_id"))
            ids.update([named] if isinstance(named, int) else named or [])
    return frozenset(ids)
