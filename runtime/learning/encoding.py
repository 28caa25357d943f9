"""Encodes examples as tokens with the chat template of serving; the reply and its end token are scored."""

from collections.abc import Sequence

from populace.actors.engine import Message
from populace.actors.tool_calls import TOOL_ROLE
from populace.engines.prompts import BaseTokenizer
from populace.learning.methods.objective import TrainSequence


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
        messages = list(prompt)
        while True:
            sequence = self._encode((*messages, Message("assistant", reply)))
            if len(sequence.ids) <= self._tokens_max:
                return sequence
            places = [at for at, message in enumerate(messages) if message.role != "system"]
            if len(places) <= 1:
                return None
            # Chat templates expect a conversation to begin with a user's message.
            del messages[places[0]]
            while len(messages) > places[0] and messages[places[0]].role in ("assistant", TOOL_ROLE):
                del messages[places[0]]
            if len(messages) == places[0]:
                return None

    def _encode(self, messages: tuple[Message, ...]) -> TrainSequence:
        ids, spans = self._tokenizer.tokens_of(messages, len(messages) - 1)
        start, stop = spans[-1]
        end = self._tokenizer.reply_end(ids, start, stop)
        weights = (0.0,) * start + (1.0,) * (end + 1 - start)
        return TrainSequence(tuple(ids[: end + 1]), weights)
