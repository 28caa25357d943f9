"""Ten million people as arrays: whose shard is whose, how often each talks, how many bytes each has."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from populace.policies.placement import shard_of

TENANT = "acme"
ZIPF_EXPONENT = 0.9
TIMES_MEAN_MAX = 200.0
"""The most that a person talks, as a multiple of the mean: with a plain Zipf law the first of ten million
would have 2 % of all turns, more than a node's share, and no person can."""

TURNS_A_DAY = 2.0
DAYS_KEPT = 30
TURNS_KEPT_MAX = 10_000
PERSON_BYTES = 774
"""Bytes on disk of a person without turns (docs/measurements/2026-11-25-identities.md)."""
TURN_BYTES = 2200
"""Bytes on disk of a turn: 315 MiB for 6,000 models of 25 turns (docs/architecture.md)."""
ADAPTER_BYTES = 1 << 20

Numbers = NDArray[np.float64]
Places = NDArray[np.int64]


class People(NamedTuple):
    """Everyone, in the order of a random rank: a 64-bit hash, a share of all turns, and bytes of rows."""

    hashes: NDArray[np.uint64]
    shares: Numbers
    row_bytes: Numbers

    def shards(self, shards: int) -> Places:
        """Return the shard of each person, as the store has it."""
        return (self.hashes % np.uint64(shards)).astype(np.int64)


class Shards(NamedTuple):
    """The sums of each shard: its people, its share of all turns, its bytes of rows."""

    people: Numbers
    shares: Numbers
    row_bytes: Numbers


def people_of(number: int, exponent: float) -> People:
    """Make the people; an exponent of 0 has all talk alike."""
    # A shard number of 2**64 returns the whole hash, of which every other one is the rest.
    hashes = (shard_of(TENANT, f"person-{index}", 2**64) for index in range(number))
    shares = shares_of(number, exponent)
    turns = np.minimum(shares * number * TURNS_A_DAY * DAYS_KEPT, TURNS_KEPT_MAX)
    return People(np.fromiter(hashes, np.uint64, number), shares, PERSON_BYTES + TURN_BYTES * turns)


def shares_of(number: int, exponent: float) -> Numbers:
    """Return each rank's share of all turns, capped at ``TIMES_MEAN_MAX`` times the mean."""
    shares = np.arange(1, number + 1, dtype=np.float64) ** -exponent
    cap = TIMES_MEAN_MAX / number
    shares /= shares.sum()
    while shares.max() > cap * 1.001:
        shares = np.minimum(shares, cap)
        shares /= shares.sum()
    return shares


def sums_of(people: People, shards: int) -> Shards:
    """Add up each shard's people."""
    places = people.shards(shards)

    def summed(weights: Any) -> Numbers:
        return np.bincount(places, weights, minlength=shards).astype(np.float64)

    return Shards(summed(None), summed(people.shares), summed(people.row_bytes))
