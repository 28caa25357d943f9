# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false
# transformers' methods have untyped keyword arguments.
"""Holding replies of the torch engine to a grammar.

Shape suffix: V = vocabulary.
"""

import asyncio
import functools
from pathlib import Path
from typing import cast

import numpy
import torch
from llguidance import LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from populace.engines.schema_grammar import grammar_of, problem_of, refused

COMPILED_MAX = 64


class ReplyGrammar:
    """Where one reply is in its grammar. Used by one thread at a time."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def restrict(self, logits_V: torch.Tensor) -> torch.Tensor:
        """Set what may not come next to -inf: after a complete reply that is all but its end.

        Raises ``InvalidRequest`` if the grammar became too large to go on with.
        """
        bits = numpy.frombuffer(self._matcher.compute_bitmask(), dtype=numpy.uint8)
        self._check()
        allowed = torch.from_numpy(numpy.unpackbits(bits, bitorder="little").astype(bool))
        missing = logits_V.numel() - allowed.numel()
        # The embedding has more rows than the tokenizer has tokens, or the mask was rounded up.
        allowed_V = torch.nn.functional.pad(allowed, (0, missing))
        return logits_V.masked_fill(~allowed_V, -torch.inf)

    def take(self, token_id: int) -> None:
        """Move on by a token that was chosen from what ``restrict`` left."""
        self._matcher.consume_token(token_id)
        self._check()

    def _check(self) -> None:
        if self._matcher.is_error():
            raise refused(self._matcher.get_error(), None)


class Grammars:
    """Compiles schemas and patterns for one tokenizer, off the event loop, and keeps the newest."""

    def __init__(self, base_directory: Path) -> None:
        self._base_directory = base_directory
        self._compiled = functools.lru_cache(COMPILED_MAX)(self._compile)

    async def grammar(self, schema: str | None, pattern: str | None = None) -> ReplyGrammar | None:
        """Return a grammar at its beginning; None for free text. Raises ``InvalidRequest``."""
        if schema is None and pattern is None:
            return None
        matcher = await asyncio.to_thread(self._compiled, schema, pattern)
        return ReplyGrammar(matcher.deep_copy())

    @functools.cached_property
    def _vocabulary(self) -> LLTokenizer:
        # Read when the first grammar is needed, which takes about a second, and from the files: the engine's
        # own tokenizer must not be entered by another thread.
        loaded = AutoTokenizer.from_pretrained(str(self._base_directory), local_files_only=True)
        return from_tokenizer(cast("PreTrainedTokenizerFast", loaded))

    def _compile(self, schema: str | None, pattern: str | None) -> LLMatcher:
        problem = problem_of(schema, pattern)
        if problem:
            raise refused(problem)
        matcher = LLMatcher(self._vocabulary, grammar_of(schema, pattern), log_level=0)
        if matcher.is_error():
            raise refused(matcher.get_error())
        return matcher
