"""A running batch of replies in torch: rows join after their prompt and leave when they end.

Shape suffixes: B = rows, H = key-value heads, T = tokens, those of the batch cached, D = head width,
V = vocabulary.
"""

from collections import Counter, deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import cast

import torch
from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from populace.actors.engine import (
    AdapterRef,
    Delta,
    FinishReason,
    GenerateRequest,
    PromptRead,
    Sampling,
    TokenLogprob,
)
from populace.actors.errors import InvalidRequest, MemoryStateInvalid
from populace.engines.kept_text import KEEP_BIAS, KeptText, kept_ids
from populace.engines.own_words import OwnWords, own_word_ids, penalised
from populace.engines.prompts import BaseTokenizer
from populace.engines.reply_grammar import ReplyGrammar
from populace.engines.reply_watch import ReplyWatch
from populace.engines.sampling import generator_seed, said_again
from populace.engines.torch_adapters import AdaptedModel
from populace.engines.torch_memory import RowMemory
from populace.engines.work_counter import RequestWork

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


class StopStrings:
    """Finds the first stop string in text that arrives in pieces.

    Text that may be the beginning of a stop string is held back until it is decided. Pure.
    """

    def __init__(self, stop: tuple[str, ...], *, include: bool = False) -> None:
        """With ``include`` the stop string is shown too."""
        self._stop = stop
        self._include = include
        self._held = ""

    def push(self, text: str, *, may_stop: bool = True) -> tuple[str, bool]:
        """Return what may be shown now, and whether a stop string was met (nothing follows it).

        A stop string that is whole before the reply ``may_stop`` is text like any other.
        """
        self._held += text
        found = [(index, stop) for stop in self._stop if (index := self._held.find(stop)) >= 0]
        if found and may_stop:
            index, stop = min(found, key=lambda place: place[0])
            shown, self._held = self._held[: index + len(stop) if self._include else index], ""
            return shown, True
        undecided = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        cut = len(self._held) - undecided
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown, False

    def flush(self) -> str:
        """Return what was held back, when the reply ended for another reason."""
        held, self._held = self._held, ""
        return held


class ReplyText:
    """The text of one reply, token by token. Special tokens have no text unless they are asked for."""

    def __init__(self, tokenizer: Tokenizer, sampling: Sampling) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=sampling.skip_special_tokens)
        self._stop_strings = StopStrings(sampling.stop, include=sampling.include_stop)
        self._unstoppable = sampling.min_tokens

    def push(self, token_id: int) -> tuple[str, bool]:
        """Return the text that became certain, and whether a stop string ended the reply."""
        text = self._stream.step(self._tokenizer, token_id) or ""
        self._unstoppable -= 1
        return self._stop_strings.push(text, may_stop=self._unstoppable < 0)

    def flush(self) -> str:
        return self._stop_strings.flush()


def _overlap(text: str, stop: str) -> int:
    """The length of the longest proper prefix of ``stop`` that ``text`` ends with."""
    longest = min(len(text), len(stop) - 1)
    return next((length for length in range(longest, 0, -1) if text.endswith(stop[:length])), 0)


KeysValues = tuple[torch.Tensor, torch.Tensor]


class Row:
    """A reply that is being made. ``deliver`` is called in the worker thread.

    ``cancelled`` is the only field that another thread sets; the row leaves at the next step.
    """

    def __init__(
        self,
        request: GenerateRequest,
        prompt_ids: list[int],
        tokens_max: int,
        tokenizer: BaseTokenizer,
        deliver: Callable[[Delta | Exception], None],
        work: RequestWork,
        memory: RowMemory | None = None,
        grammar: ReplyGrammar | None = None,
    ) -> None:
        self.prompt_ids = prompt_ids
        self.memory = memory
        self.adapter: AdapterRef | None = request.adapter
        self.deliver = deliver
        self.cancelled = False
        self.finished = False
        self.last_id = -1
        self.work = work
        self._said_before = deque(request.reply_ids or ())
        self._tokens_left = len(self._said_before) or tokens_max
        self._said: list[int] = []
        sampling = said_again(request)
        stops = frozenset(sampling.stop_token_ids)
        self._end_ids = stops if sampling.ignore_eos else stops | tokenizer.eos_ids
        self._tokenizer = tokenizer
        self._sampling = sampling
        self._prompt_read: PromptRead | None = None
        self._chooser = TokenChooser(
            sampling,
            tokenizer.token_text,
            grammar,
            prompt_ids=prompt_ids,
            end_ids=stops | tokenizer.eos_ids,
            bad_word_ids=tokenizer.bad_word_ids(sampling.bad_words),
            kept_ids=kept_ids(request, tokenizer),
            own_word_ids=own_word_ids(request, tokenizer),
        )
        self._text = ReplyText(tokenizer.backend, sampling)
        self._watch = ReplyWatch(request)

    @property
    def wants_prompt_logits(self) -> bool:
        return self._sampling.prompt_logprobs is not None

    def end_prompt(self, logits_TV: torch.Tensor) -> None:
        """Note what the first delta says of the prompt; the logits are of all its tokens, or of the last."""
        if not self._sampling.wants_prompt:
            return
        asked, text = self._sampling.prompt_logprobs, self._tokenizer.token_text
        rows = None if asked is None else prompt_logprobs(logits_TV, self.prompt_ids, asked, text)
        self._prompt_read = self._tokenizer.prompt_read(self.prompt_ids, rows)

    def advance(self, logits_V: torch.Tensor) -> None:
        """Choose the next token, deliver it, and note whether it was the last."""
        try:
            self.last_id, logprob = self._chooser.choose(logits_V)
        except InvalidRequest as error:  # only this reply fails: the batch goes on
            self.finished = True
            self.work.failed()
            self.deliver(error)
            return
        if self._said_before:
            self.last_id, logprob = self._said_before.popleft(), None
        self._tokens_left -= 1
        self._said.append(self.last_id)
        ends = self.last_id in self._end_ids
        shown = not ends or self._sampling.include_stop
        text, stopped = self._text.push(self.last_id) if shown else ("", False)
        reason: FinishReason | None = None
        if stopped or ends:
            reason = "stop"
        elif self._tokens_left == 0:
            reason = "length"
        elif self._repeats_itself():
            reason = "repetition"
        else:
            reason = self._watch.degenerates(text)
        if reason is not None and not stopped:
            text += self._text.flush()
        self.finished = reason is not None
        self.work.advanced(reason)
        logprobs = () if logprob is None else (logprob,)
        delta = Delta(text, (self.last_id,), len(self.prompt_ids), logprobs, reason, prompt=self._prompt_read)
        self._prompt_read = None
        if not self.finished or self.memory is None:
            self.deliver(delta)
            return
        try:
            self.deliver(replace(delta, memory=self.memory.packed()))
        except MemoryStateInvalid as error:  # only this reply fails: the batch goes on
            self.deliver(error)

    def _repeats_itself(self) -> bool:
        repeated = self._sampling.repetition_that_ends
        if repeated is None or len(self._said) < self._sampling.min_tokens:
            return False
        return repeated.finds(self._said)


class RunningBatch:
    """Rows with a common key-value cache, padded on the left where they are shorter.

    A prompt is read alone and unpadded, then its cache joins the others': so no position is
    ever computed from padding, and a row's numbers do not depend on the other rows (up to
    the rounding of matrix products of another size).
    """

    def __init__(self, model: AdaptedModel) -> None:
        self._model = model
        self.rows: list[Row] = []
        self._cache: list[KeysValues] = []
        self._mask_BT = torch.zeros(0, 0, dtype=torch.long)

    def join(self, row: Row) -> None:
        """Read the prompt and choose the first token; the row stays unless that ended it."""
        row.work.began(len(row.prompt_ids))
        cache = DynamicCache()
        ids_1T = torch.tensor([row.prompt_ids])
        memory = row.memory
        passing = None if memory is None else memory.begin()
        logits_1TV = self._model.forward(
            ids_1T,
            cache=cache,
            adapters=[row.adapter],
            memory=passing,
            all_logits=row.wants_prompt_logits,
        )
        if memory is not None and passing is not None:
            memory.end_prompt(passing)
        row.end_prompt(logits_1TV[0])
        row.advance(logits_1TV[0, -1])
        if row.finished:
            return
        tokens = max(self._mask_BT.shape[1], ids_1T.shape[1])
        added = _layers(cache)
        if self.rows:
            self._cache = [
                (_stack(keys, new_keys, tokens), _stack(values, new_values, tokens))
                for (keys, values), (new_keys, new_values) in zip(self._cache, added, strict=True)
            ]
            self._mask_BT = torch.cat(
                [_padded(self._mask_BT, tokens), _padded(torch.ones_like(ids_1T), tokens)]
            )
        else:
            self._cache, self._mask_BT = added, torch.ones_like(ids_1T)
        self.rows.append(row)

    def step(self) -> None:
        """Add one token to every row."""
        last_B1 = torch.tensor([[row.last_id] for row in self.rows])
        self._mask_BT = torch.cat([self._mask_BT, torch.ones_like(last_B1)], dim=1)
        cache = DynamicCache(self._cache)
        passing = self._model.one_token_pass([row.memory for row in self.rows])
        logits_B1V = self._model.forward(
            last_B1,
            cache=cache,
            adapters=[row.adapter for row in self.rows],
            mask_BT=self._mask_BT,
            positions_BT=self._mask_BT.sum(dim=1, keepdim=True) - 1,
            memory=passing,
        )
        self._cache = _layers(cache)
        for index, row in enumerate(self.rows):
            if row.memory is not None and passing is not None:
                row.memory.advance(passing, index)
        for row, logits_V in zip(self.rows, logits_B1V[:, -1], strict=True):
            row.advance(logits_V)

    def drop_ended(self) -> None:
        """Remove the rows that are finished or cancelled, and the padding that only they needed."""
        stay = [index for index, row in enumerate(self.rows) if not (row.finished or row.cancelled)]
        if len(stay) == len(self.rows):
            return
        self.rows = [self.rows[index] for index in stay]
        if not stay:
            self.clear()
            return
        self._mask_BT = self._mask_BT[stay]
        start = self._mask_BT.shape[1] - int(self._mask_BT.sum(dim=1).max())
        self._mask_BT = self._mask_BT[:, start:]
        self._cache = [(keys[stay][:, :, start:], values[stay][:, :, start:]) for keys, values in self._cache]

    def clear(self) -> None:
        self.rows, self._cache = [], []
        self._mask_BT = torch.zeros(0, 0, dtype=torch.long)


def _layers(cache: DynamicCache) -> list[KeysValues]:
    layers = cast("list[DynamicLayer]", cache.layers)
    return [(cast("torch.Tensor", layer.keys), cast("torch.Tensor", layer.values)) for layer in layers]


def _stack(old_BHTD: torch.Tensor, new_1HTD: torch.Tensor, tokens: int) -> torch.Tensor:
    def widen(part: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(part, (0, 0, tokens - part.shape[2], 0))

    return torch.cat([widen(old_BHTD), widen(new_1HTD)])


def _padded(mask_BT: torch.Tensor, tokens: int) -> torch.Tensor:
    return torch.nn.functional.pad(mask_BT, (tokens - mask_BT.shape[1], 0))
