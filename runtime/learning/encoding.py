"""Encodes examples as tokens with the chat template of serving; the reply and its end token are scored."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from populace.actors.engine import Message
from populace.actors.tool_calls import TOOL_ROLE
from populace.engines.prompts import BaseTokenizer
from populace.learning.methods.objective import TrainSequence

T = TypeVar("T")


class ExampleEncoder:
    """Encodes for one base. A sequence has at most ``tokens_max`` tokens, the base's context or less."""

    def __init__(self, tokenizer: BaseTokenizer, tokens_max: int) -> None:
        self._tokenizer = tokenizer
        self._tokens_max = tokens_max

    def sequence(self, prompt: Sequence[Message], reply: str) -> TrainSequence | None:
        """Encode a prompt and the reply to learn.

        A sequence that is too long loses its oldest messages, except system messages. The reply is never cut,
        as a model that is trained on half a reply stops in the middle. Returns None if the reply and the
        message it answers do not fit.
        """
        said = Message("assistant", reply)
        sequence = self._encode((*prompt, said))
        if self._fits(sequence):
            return sequence
        shorter = list(_shorter(prompt))
        # Tried one after the other, the parts of one long chat would take minutes.
        at = bisect_left(shorter, True, key=lambda kept: self._fits(self._encode((*kept, said))))
        return self._encode((*shorter[at], said)) if at < len(shorter) else None

    def fitting(
        self, items: Iterable[T], told: Callable[[T], tuple[Sequence[Message], str]]
    ) -> list[tuple[T, TrainSequence]]:
        """Encode what ``told`` returns of each item, a prompt and its reply; leave out what does not fit."""
        encoded = [(item, self.sequence(*told(item))) for item in items]
        return [(item, sequence) for item, sequence in encoded if sequence is not None]

    def _fits(self, sequence: TrainSequence) -> bool:
        return len(sequence.ids) <= self._tokens_max

    def _encode(self, messages: tuple[Message, ...]) -> TrainSequence:
        ids, spans = self._tokenizer.tokens_of(messages, len(messages) - 1)
        start, stop = spans[-1]
        end = self._tokenizer.reply_end(ids, start, stop)
        weights = (0.0,) * start + (1.0,) * (end + 1 - start)
        return TrainSequence(tuple(ids[: end + 1]), weights)


def _shorter(prompt: Sequence[Message]) -> Iterator[tuple[Message, ...]]:
    """Drop the oldest messages, one exchange more each time, and no system message."""
    messages = list(prompt)
    while len(places := [at for at, message in enumerate(messages) if message.role != "system"]) > 1:
        # Chat templates expect a conversation to begin with a user's message.
        del messages[places[0]]
        while len(messages) > places[0] and messages[places[0]].role in ("assistant", TOOL_ROLE):
            del messages[places[0]]
        if len(messages) == places[0]:
            return
        yield tuple(messages)
