"""Examples as tokens: rendered as serving renders them, with the reply's tokens and its end to be learned."""

from collections.abc import Sequence

from populace.actors.engine import Message
from populace.engines.prompts import BaseTokenizer
from populace.learning.methods.objective import TrainSequence


class ExampleEncoder:
    """For one base. A sequence has at most ``tokens_max`` tokens, which its context must hold."""

    def __init__(self, tokenizer: BaseTokenizer, tokens_max: int) -> None:
        self._tokenizer = tokenizer
        self._tokens_max = tokens_max

    def sequence(self, prompt: Sequence[Message], reply: str) -> TrainSequence | None:
        """Encode a prompt and the reply to learn; None for a reply that does not fit with its own message.

        What is too long loses its oldest messages, except system messages; the reply is never cut: a model
        that learns the half of a reply learns to stop in its middle.
        """
        messages = list(prompt)
        while True:
            sequence = self._encode((*messages, Message("assistant", reply)))
            if len(sequence.ids) <= self._tokens_max:
                return sequence
            spoken = [at for at, one in enumerate(messages) if one.role != "system"]
            if len(spoken) <= 1:
                return None
            # A conversation begins with what the person says.
            del messages[spoken[0]]
            while messages[spoken[0]].role == "assistant":
                del messages[spoken[0]]

    def _encode(self, messages: tuple[Message, ...]) -> TrainSequence:
        ids, spans = self._tokenizer.tokens_of(messages, len(messages) - 1)
        start, stop = spans[-1]
        end = self._tokenizer.reply_end(ids, start, stop)
        weights = (0.0,) * start + (1.0,) * (end + 1 - start)
        return TrainSequence(tuple(ids[: end + 1]), weights)
