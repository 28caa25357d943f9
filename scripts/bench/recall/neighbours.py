# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# transformers' models are partly untyped.
"""Nearest neighbours over a person's own hidden states, the kNN-LM of arXiv 1911.00172.

Each token that the person wrote is kept under the base's last hidden state before it. While a reply is
generated, the tokens under the most similar states share a part of the next token's probability. Nothing is
trained. It runs in torch beside the bench's engine, one reply at a time.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch.nn.functional import normalize

from examples.memory_module.loaded_base import load_base
from examples.memory_module.probe import output_embeddings
from populace.actors.engine import FinishReason, Message
from scripts.bench.recall.grading import Reply

COUNT = 16
"""Neighbours of a state."""

SHARE = 0.5
"""Part of the probability that the neighbours get: of 0.25, 0.5 and 0.75 the one that recalls most of
generated facts."""

TEMPERATURE = 0.01
"""Divides the cosine of two states, before the softmax over the neighbours."""


class KeptTokens(NamedTuple):
    """Tokens of a person: unit hidden states [tokens, width] in float32, and token ids [tokens]."""

    states: torch.Tensor
    ids: torch.Tensor


class NeighbourLanguageModel:
    """The base, with a person's own tokens beside it. Its methods run one at a time, on a thread."""

    def __init__(self, directory: Path, fingerprint: str, *, reply_tokens: int) -> None:
        self._base = load_base(directory, fingerprint)
        self._embeddings = output_embeddings(self._base.model)
        self._reply_tokens = reply_tokens
        self._lock = asyncio.Lock()

    async def kept(self, said: str) -> KeptTokens:
        """Return the tokens of a message, under the states that the base has before each."""
        async with self._lock:
            return await asyncio.to_thread(self._kept, said)

    async def reply(self, messages: Sequence[Message], person: Sequence[KeptTokens]) -> tuple[Reply, int]:
        """Generate a reply greedily; return it with the number of tokens in the prompt."""
        async with self._lock:
            return await asyncio.to_thread(self._reply, tuple(messages), person)

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of tokens, without special ones."""
        return self._base.tokenizer.text(ids)

    @torch.inference_mode()
    def _kept(self, said: str) -> KeptTokens:
        tokenizer = self._base.tokenizer
        ids, ((start, stop),) = tokenizer.tokens_of((Message("user", said),), new_from=0)
        # With the token that ends the message, so that the neighbours can end a reply.
        stop = tokenizer.reply_end(ids, start, stop) + 1
        hidden = self._base.model.base_model(torch.tensor([ids[:stop]])).last_hidden_state[0]
        return KeptTokens(normalize(hidden[start - 1 : -1].float(), dim=-1), torch.tensor(ids[start:stop]))

    @torch.inference_mode()
    def _reply(self, messages: tuple[Message, ...], person: Sequence[KeptTokens]) -> tuple[Reply, int]:
        tokenizer, model = self._base.tokenizer, self._base.model
        states = torch.cat([kept.states for kept in person])
        ids = torch.cat([kept.ids for kept in person])
        prompt = tokenizer.tokens_of(messages).ids
        inputs, cache = torch.tensor([prompt]), None
        reply: list[int] = []
        finish_reason: FinishReason = "length"
        for _ in range(self._reply_tokens):
            read = model.base_model(inputs, past_key_values=cache, use_cache=True)
            cache, hidden = read.past_key_values, read.last_hidden_state[0, -1]
            own = (hidden.float() @ self._embeddings.T).softmax(-1)
            cosines, places = (states @ normalize(hidden.float(), dim=-1)).topk(min(COUNT, len(states)))
            neighbours = torch.zeros_like(own).index_add_(0, ids[places], (cosines / TEMPERATURE).softmax(0))
            token = int((SHARE * neighbours + (1 - SHARE) * own).argmax())
            if token in tokenizer.eos_ids:
                finish_reason = "stop"
                break
            reply.append(token)
            inputs = torch.tensor([[token]])
        return Reply(self.text(reply), tuple(reply), finish_reason), len(prompt)
