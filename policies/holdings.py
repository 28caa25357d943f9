"""Summarises for routers the adapters that a replica holds: 8 bytes for each, up to a maximum.

It uses marks and not a Bloom filter: at these bounds a summary has at most 10 KiB, sent every few seconds and
only if it changed, and a filter of a sixth of that would take one adapter in a hundred for a held one. Two
digests with the same mark (one pair in 2**64) only cause a worse choice: no weights are found by a mark.
"""

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple, Self

from populace.policies.routing import Tier

MARK_BYTES = 8
HOT_MAX = 256
WARM_MAX = 1024

NOTHING: frozenset[bytes] = frozenset()


def mark_of(digest: str) -> bytes:
    """Return the 8 bytes that stand for an adapter's digest; the same in every process."""
    return blake2b(digest.encode(), digest_size=MARK_BYTES).digest()


def summary_of(hot: Iterable[str], warm: Iterable[str]) -> dict[str, bytes]:
    """Summarize the digests that a replica holds, each tier beginning with those that will stay longest.

    Digests beyond ``HOT_MAX`` and ``WARM_MAX`` are left out. The order is not included, so that a summary
    changes only when something comes or leaves.
    """
    hottest = {mark_of(digest) for digest in islice(hot, HOT_MAX)}
    # A hot adapter takes no place among the warm ones.
    cooler = (mark for mark in map(mark_of, warm) if mark not in hottest)
    return {"hot": b"".join(sorted(hottest)), "warm": b"".join(sorted(set(islice(cooler, WARM_MAX))))}


class Holdings(NamedTuple):
    """A parsed summary, for a router."""

    hot: frozenset[bytes] = NOTHING
    warm: frozenset[bytes] = NOTHING

    @classmethod
    def read(cls, summary: Mapping[str, object]) -> Self:
        """Read a summary; one that is empty, or was made by another release, holds nothing."""
        return cls(_marks(summary.get("hot")), _marks(summary.get("warm")))

    def tier(self, mark: bytes) -> Tier:
        if mark in self.hot:
            return "hot"
        return "warm" if mark in self.warm else "cool"


def _marks(joined: object) -> frozenset[bytes]:
    if not isinstance(joined, bytes):
        return NOTHING
    return frozenset(joined[at : at + MARK_BYTES] for at in range(0, len(joined), MARK_BYTES))
