"""Choosing the next token of one reply, in torch.

Shape suffix: V = vocabulary.
"""

from collections import Counter
from collections.abc import Callable

import torch

from populace.actors.engine import Sampling, TokenLogprob
from populace.engines.reply_grammar import ReplyGrammar
from populace.engines.sampling import generator_seed


class TokenChooser:
    """Samples one reply's tokens. A seed makes it independent of everything else in the batch.

    The order is vLLM's: grammar, penalties on what this reply has said, temperature, top-k, top-p. Log
    probabilities are the model's own among what the grammar permits, before the others.
    """

    def __init__(
        self, sampling: Sampling, token_text: Callable[[int], str], grammar: ReplyGrammar | None = None
    ) -> None:
        self._sampling = sampling
        self._token_text = token_text
        self._grammar = grammar
        self._said: Counter[int] = Counter()
        self._generator = torch.Generator()
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(generator_seed(sampling.seed))

    def choose(self, logits_V: torch.Tensor) -> tuple[int, TokenLogprob | None]:
        """Return the next token, and its log probability if it was asked for.

        Raises ``InvalidRequest`` if the grammar became too large.
        """
        logits_V = logits_V.float()
        if self._grammar is not None:
            logits_V = self._grammar.restrict(logits_V)
        token_id = self._sample(self._penalised(logits_V))
        self._said[token_id] += 1
        if self._grammar is not None:
            self._grammar.take(token_id)
        if self._sampling.logprobs is None:
            return token_id, None
        return token_id, self._logprob(logits_V, token_id, self._sampling.logprobs)

    def _penalised(self, logits_V: torch.Tensor) -> torch.Tensor:
        frequency, presence = self._sampling.frequency_penalty, self._sampling.presence_penalty
        if not self._said or (frequency == 0.0 and presence == 0.0):
            return logits_V
        said = torch.tensor(list(self._said))
        counts = torch.tensor(list(self._said.values()), dtype=logits_V.dtype)
        return logits_V.index_add(0, said, -(counts * frequency + presence))

    def _sample(self, logits_V: torch.Tensor) -> int:
        if self._sampling.temperature == 0.0:
            return int(logits_V.argmax())
        probabilities_V = torch.softmax(_restricted(logits_V, self._sampling), dim=-1)
        return int(torch.multinomial(probabilities_V, 1, generator=self._generator))

    def _logprob(self, logits_V: torch.Tensor, token_id: int, alternatives: int) -> TokenLogprob:
        logprobs_V = torch.log_softmax(logits_V, dim=-1)
        best = torch.topk(logprobs_V, alternatives)
        top = tuple(
            (index, self._token_text(index), value)
            for index, value in zip(map(int, best.indices), map(float, best.values), strict=True)
            if value > -torch.inf
        )
        return TokenLogprob(token_id, self._token_text(token_id), float(logprobs_V[token_id]), top)


def _restricted(logits_V: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Apply temperature, top-k and top-p: what may not be chosen becomes -inf."""
    logits_V = logits_V / sampling.temperature
    if 0 < sampling.top_k < logits_V.numel():
        smallest = torch.topk(logits_V, sampling.top_k).values[-1]
        logits_V = logits_V.masked_fill(logits_V < smallest, -torch.inf)
    if sampling.top_p < 1.0:
        ordered_V, order_V = logits_V.sort(descending=True)
        probabilities_V = torch.softmax(ordered_V, dim=-1)
        # A token stays if the mass above it is below top_p; the first always does.
        excluded_V = probabilities_V.cumsum(-1) - probabilities_V >= sampling.top_p
        logits_V = logits_V.index_fill(0, order_V[excluded_V], -torch.inf)
    return logits_V
