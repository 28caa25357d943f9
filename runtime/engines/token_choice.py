"""Choosing the next token of one reply, in torch.

Shape suffixes: V = vocabulary, T = tokens.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence

import torch

from populace.actors.engine import Sampling, TokenLogprob
from populace.engines.kept_text import KEEP_BIAS, KeptText
from populace.engines.own_words import OwnWords, penalised
from populace.engines.reply_grammar import ReplyGrammar
from populace.engines.sampling import generator_seed

TEMPERATURE_MIN = 0.01
"""A lower one than this, which is not 0, counts as this, as in vLLM: quotients must stay finite."""

PROMPT_TOKENS_AT_ONCE = 256
"""Tokens of a prompt whose log probabilities are made at once: each takes the vocabulary in float32."""


class TokenChooser:
    """Samples one reply's tokens. A seed makes it independent of everything else in the batch.

    The order is vLLM's: grammar, allowed tokens, bad words, biases and what may not end the reply yet, the
    text that the reply keeps to, penalties, temperature, min-p, top-k, top-p. Log probabilities are the
    model's own among what the grammar permits, before the others.
    """

    def __init__(
        self,
        sampling: Sampling,
        token_text: Callable[[int], str],
        grammar: ReplyGrammar | None = None,
        *,
        prompt_ids: Sequence[int] = (),
        end_ids: Collection[int] = (),
        bad_word_ids: Sequence[Sequence[int]] = (),
        kept_ids: Sequence[int] = (),
        own_word_ids: Collection[int] = (),
    ) -> None:
        """``end_ids`` are not chosen before the reply has ``min_tokens``. ``kept_ids`` draw it.

        ``own_word_ids`` were said in earlier replies, which counts if there are any.
        """
        self._sampling = sampling
        self._token_text = token_text
        self._grammar = grammar
        self._prompt_ids = frozenset(prompt_ids) if sampling.repetition_penalty != 1.0 else frozenset[int]()
        self._end_ids = list(end_ids)
        self._bad_word_ids = [list(ids) for ids in bad_word_ids]
        self._kept = KeptText(kept_ids) if kept_ids else None
        self._own_words = OwnWords(own_word_ids, sampling.own_words_penalty) if own_word_ids else None
        self._reply: list[int] = []
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
        token_id = self._sample(self._penalised(self._biased(logits_V)))
        self._reply.append(token_id)
        self._said[token_id] += 1
        if self._grammar is not None:
            self._grammar.take(token_id)
        if self._sampling.logprobs is None:
            return token_id, None
        return token_id, logprob_of(logits_V, token_id, self._sampling.logprobs, self._token_text)

    def _biased(self, logits_V: torch.Tensor) -> torch.Tensor:
        sampling = self._sampling
        if sampling.allowed_token_ids:
            allowed = torch.tensor(sorted({*sampling.allowed_token_ids}))
            logits_V = torch.full_like(logits_V, -torch.inf).index_copy(0, allowed, logits_V[allowed])
        barred = [ids[-1] for ids in self._bad_word_ids if self._ends_with(ids[:-1])]
        if len(self._reply) < sampling.min_tokens:
            barred += self._end_ids
        if barred:
            left_V = logits_V.index_fill(0, torch.tensor(barred), -torch.inf)
            # Something has to be chosen, even if nothing that is allowed is not barred.
            logits_V = logits_V if left_V.max() == -torch.inf else left_V
        if sampling.logit_bias:
            ids, biases = zip(*sampling.logit_bias, strict=True)
            logits_V = logits_V.index_add(0, torch.tensor(ids), torch.tensor(biases, dtype=logits_V.dtype))
        if self._kept is not None and (drawn := self._kept.following(self._reply)):
            raised = torch.full((len(drawn),), KEEP_BIAS, dtype=logits_V.dtype)
            logits_V = logits_V.index_add(0, torch.tensor(drawn), raised)
        return logits_V

    def _ends_with(self, ids: list[int]) -> bool:
        return self._reply[len(self._reply) - len(ids) :] == ids

    def _penalised(self, logits_V: torch.Tensor) -> torch.Tensor:
        sampling = self._sampling
        if self._own_words is not None:
            said = torch.tensor(self._own_words.said(self._reply))
            logits_V = logits_V.index_copy(0, said, penalised(logits_V[said], self._own_words.penalty))
        if sampling.repetition_penalty != 1.0:
            seen = torch.tensor(sorted(self._prompt_ids | self._said.keys()), dtype=torch.long)
            logits_V = logits_V.index_copy(0, seen, penalised(logits_V[seen], sampling.repetition_penalty))
        frequency, presence = sampling.frequency_penalty, sampling.presence_penalty
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


def logprob_of(
    logits_V: torch.Tensor, token_id: int, alternatives: int, token_text: Callable[[int], str]
) -> TokenLogprob:
    """Return a token's log probability, with that many ``alternatives``, the likeliest tokens."""
    logprobs_V = torch.log_softmax(logits_V, dim=-1)
    best = torch.topk(logprobs_V, alternatives)
    top = tuple(
        (index, token_text(index), value)
        for index, value in zip(map(int, best.indices), map(float, best.values), strict=True)
        if value > -torch.inf
    )
    return TokenLogprob(token_id, token_text(token_id), float(logprobs_V[token_id]), top)


def prompt_logprobs(
    logits_TV: torch.Tensor, prompt_ids: Sequence[int], alternatives: int, token_text: Callable[[int], str]
) -> list[TokenLogprob]:
    """Return the log probabilities of a prompt's tokens but the first, from the logits of all of them."""
    rows: list[TokenLogprob] = []
    for start in range(0, len(prompt_ids) - 1, PROMPT_TOKENS_AT_ONCE):
        following = prompt_ids[start + 1 : start + 1 + PROMPT_TOKENS_AT_ONCE]
        logits = logits_TV[start : start + len(following)].float()
        rows += [
            logprob_of(logits_V, token_id, alternatives, token_text)
            for logits_V, token_id in zip(logits, following, strict=True)
        ]
    return rows


def _restricted(logits_V: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Apply temperature, min-p, top-k and top-p: what may not be chosen becomes -inf."""
    logits_V = logits_V / max(sampling.temperature, TEMPERATURE_MIN)
    if sampling.min_p > 0.0:
        probabilities_V = torch.softmax(logits_V, dim=-1)
        unlikely_V = probabilities_V < sampling.min_p * probabilities_V.max()
        logits_V = logits_V.masked_fill(unlikely_V, -torch.inf)
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
