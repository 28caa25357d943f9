"""Counters of what an engine computed since it started."""

from collections.abc import Mapping
from typing import NamedTuple

from populace.storage.records.durations import DurationCounts


class CacheWork(NamedTuple):
    """What a cache of keys and values that outlives requests did.

    ``used_share`` of its blocks, in [0, 1], are taken now. Of the ``query_tokens`` that were looked for in it
    ``hit_tokens`` were there. ``preemptions`` counts how often a request gave up its blocks for others.
    """

    used_share: float
    query_tokens: int
    hit_tokens: int
    preemptions: int


class EngineWork(NamedTuple):
    """What one engine computed, without what warmed it up.

    ``finished`` counts requests by why they ended: ``stop``, ``length``, ``repetition`` or ``error``; those
    whose caller left are not among them. The times are those of requests that were admitted: ``queue`` until
    the first step, ``prefill`` until the first token, ``decode`` from there to the last one, ``first_token``
    and ``whole`` from the beginning, ``between_tokens`` from each to the next, and ``per_token`` a request's
    mean of these. ``memory_loads`` requests brought a memory state, of ``memory_loaded_bytes`` together, and
    ``memory_refused`` more one that could not be read. ``cache`` is None for an engine that keeps nothing
    between requests.
    """

    prompt_tokens: int
    generation_tokens: int
    finished: Mapping[str, int]
    queue: DurationCounts
    prefill: DurationCounts
    decode: DurationCounts
    first_token: DurationCounts
    whole: DurationCounts
    between_tokens: DurationCounts
    per_token: DurationCounts
    memory_loads: int = 0
    memory_loaded_bytes: int = 0
    memory_refused: int = 0
    cache: CacheWork | None = None
