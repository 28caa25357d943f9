"""A running batch of replies in torch: rows join after their prompt and leave when they end.

Shape suffixes: B = rows, H = key-value heads, T = cached tokens, D = head width, V = vocabulary.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from populace.actors.engine import AdapterRef, Delta, FinishReason, GenerateRequest, PromptRead
from populace.actors.errors import InvalidRequest, MemoryStateInvalid
from populace.engines.kept_text import kept_ids
from populace.engines.own_words import own_word_ids
from populace.engines.prompts import BaseTokenizer
from populace.engines.reply_grammar import ReplyGrammar
from populace.engines.reply_text import ReplyText
from populace.engines.reply_watch import ReplyWatch
from populace.engines.sampling import said_again
from populace.engines.token_choice import TokenChooser, prompt_logprobs
from populace.engines.torch_adapters import AdaptedModel
from populace.engines.torch_memory import RowMemory
from populace.engines.work_counter import RequestWork

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
