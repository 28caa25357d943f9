"""A request's arguments for the memory inside vLLM, as plain data in its ``SamplingParams.extra_args``."""

import hashlib
from typing import Any, NamedTuple, Self

ARGUMENT = "populace_memory"

WORKER_CLASS = "populace.engines.vllm_memory.worker.MemoryWorker"
"""vLLM imports it by this name, in the processes that have the model."""

MODULE_PATH = "populace_memory_module"
"""Keys of vLLM's ``additional_config``: the memory module's file, its digest, its base's fingerprint."""

MODULE_DIGEST = "populace_memory_digest"
MODULE_BASE = "populace_memory_base"


class MemoryRequest(NamedTuple):
    """A request's starting state (float32 bytes, None: empty) and what of it is written.

    ``key`` names the request among all of an engine's. ``spans`` are the token ranges [start, stop)
    of the prompt that write, one for each message. If ``writes``, so does every token after the
    ``prompt_tokens``; otherwise nothing does and ``spans`` is empty. If ``gated``, replies write nothing
    and prompts read nothing.
    """

    key: str
    state: bytes | None
    reads: bool
    writes: bool
    prompt_tokens: int
    spans: tuple[tuple[int, int], ...] = ()
    gated: bool = False

    @property
    def computed_from(self) -> int | None:
        """Return the first token that must be computed although its keys and values may be cached.

        With gates it is the first token that is written. Without, ``cache_salt`` decides, and it is None.
        """
        return self.spans[0][0] if self.gated and self.spans else None

    def arguments(self) -> dict[str, Any]:
        return {ARGUMENT: list(self)}

    @classmethod
    def of(cls, arguments: dict[str, Any] | None) -> Self | None:
        """Read what ``arguments`` gave; None for a request without memory."""
        fields = (arguments or {}).get(ARGUMENT)
        if fields is None:
            return None
        key, state, reads, writes, prompt_tokens, spans, gated = fields
        places = tuple((start, stop) for start, stop in spans)
        return cls(key, state, reads, writes, prompt_tokens, places, gated)

    def cache_salt(self, salt: str) -> str:
        """Make a salt under which no key-value cache of another state is found.

        A request that writes finds nothing and leaves nothing to be found: its blocks are its own. With
        gates no key and no value depends on a state.
        """
        if self.gated:
            return salt
        state = hashlib.sha256(self.state or b"").hexdigest()
        return f"{salt}:{state}:{self.reads}:{self.key if self.writes else ''}"

    def written(self, start: int, stop: int) -> list[tuple[int, int, bool]]:
        """Cut the tokens [start, stop) into the parts that are written: (start, stop, message ends there).

        The reply never ends here, as it is not known yet which token is its last.
        """
        if not self.writes:
            return []
        parts = [
            (max(start, first), min(stop, last), last <= stop)
            for first, last in self.spans
            if max(start, first) < min(stop, last)
        ]
        if stop > self.prompt_tokens:
            parts.append((max(start, self.prompt_tokens), stop, False))
        return parts
