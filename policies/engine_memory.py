"""Decides whether a base and what it is served with fit into memory, and what would make them fit.

An estimate, for a refusal before minutes of loading: weights, slots, states and the cache of one reply are
exact up to padding, and what a step needs besides is taken from how a transformer computes. vLLM measures the
rest, and takes what is left for more of the cache.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

GIB = 2**30
GRAPHS_BYTES = GIB * 3 // 4
"""What CUDA's context within vLLM's share, and compiled graphs, take on a card."""

BATCHED_TOKENS = 8192
"""Tokens of a step where no setting says it: vLLM's largest default but one."""

SERVED_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""Ranks that vLLM has slots for."""

PROCESS_BYTES = GIB // 2
"""What a process with torch takes besides, on a machine without GPUs."""

CONTEXT_MIN = 512
SHARE_MAX = 0.95


class BaseSizes(NamedTuple):
    """A base by its numbers. ``weights_bytes`` are those in memory, ``linear_weights`` what fp8 halves."""

    weights_bytes: int
    linear_weights: int
    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    has_experts: bool = False
    value_bytes: int = 2

    @property
    def cache_bytes(self) -> int:
        """The bytes of keys and values of one token."""
        return 2 * self.layers * self.kv_heads * self.head_dim * self.value_bytes

    def adapter_bytes(self, rank: int, cards: int = 1) -> int:
        """The bytes of an adapter of this rank of all linear layers, on each of ``cards``.

        A has all of its inputs on each card, and B its part of the outputs. Experts have no adapters.
        """
        wide, narrow = self.heads * self.head_dim, self.kv_heads * self.head_dim
        inputs, outputs = 3 * self.hidden + wide, wide + 2 * narrow + self.hidden
        if not self.has_experts:
            inputs += 2 * self.hidden + self.intermediate
            outputs += 2 * self.intermediate + self.hidden
        return self.layers * rank * self.value_bytes * (inputs + -(-outputs // cards))


class EngineSizes(NamedTuple):
    """What a replica is started with. ``state_bytes`` is a memory state's size, 0 without a memory."""

    sequences: int
    slots: int
    rank: int
    context_tokens: int
    batched_tokens: int | None = None
    cards: int = 1
    quantized: bool = False
    state_bytes: int = 0

    @property
    def reserve(self) -> int:
        """The places and slots beyond those of the settings, for tenants without a chat in the engine."""
        return max(1, self.sequences // 4)

    @property
    def places(self) -> int:
        return self.sequences + self.reserve


class Needed(NamedTuple):
    """The bytes that are needed for each purpose."""

    weights: int
    adapters: int
    cache: int
    states: int
    working: int

    @property
    def total(self) -> int:
        return sum(self)


def needed_on_card(base: BaseSizes, engine: EngineSizes) -> Needed:
    """Estimate the memory of a replica on each of its cards, with the cache of one reply of full length."""
    rank = next((rank for rank in SERVED_RANKS if rank >= engine.rank), engine.rank)
    weights = base.weights_bytes
    if engine.quantized:
        weights -= base.linear_weights * (base.value_bytes - 1)
    tokens = max(engine.batched_tokens or BATCHED_TOKENS, engine.places)
    width = 4 * base.hidden + 3 * -(-base.intermediate // engine.cards)
    return Needed(
        weights=-(-weights // engine.cards),
        adapters=(engine.slots + engine.reserve) * base.adapter_bytes(rank, engine.cards),
        cache=engine.context_tokens * -(-base.cache_bytes // min(engine.cards, base.kv_heads)),
        states=engine.places * engine.state_bytes,
        working=tokens * width * base.value_bytes + 8 * engine.places * base.vocabulary + GRAPHS_BYTES,
    )


class HostSizes(NamedTuple):
    """What a machine without GPUs runs: replicas with a cache of their own each, and maybe a trainer."""

    replicas: int
    cache_gib: int
    warm_bytes: int
    trains: bool
    places: int
    state_bytes: int = 0


def needed_on_host(base: BaseSizes, host: HostSizes) -> Needed:
    """Estimate the memory of a machine that computes everything on its processors."""
    loaded = host.replicas + host.trains
    return Needed(
        weights=loaded * base.weights_bytes,
        adapters=host.warm_bytes,
        cache=host.replicas * host.cache_gib * GIB,
        states=host.replicas * host.places * host.state_bytes,
        working=loaded * PROCESS_BYTES,
    )


class Remedy(NamedTuple):
    """A setting, and the value with which alone what was too large fits."""

    setting: str
    value: str


def card_remedies(
    base: BaseSizes,
    engine: EngineSizes,
    card_bytes: int,
    share: float,
    *,
    trainer_share: float = 0.0,
    cards_max: int = 1,
    may_quantize: bool = False,
) -> list[Remedy]:
    """List the settings each of which alone makes a replica fit on cards of which it takes a ``share``.

    ``cards_max`` is the most GPUs of one machine. Each has the value that changes least.
    """
    room = int(card_bytes * share)
    spreads = [cards for cards in range(engine.cards + 1, cards_max + 1) if _is_alike(base, cards)]
    tries = {
        "ADAPTER_SLOTS": [(slots, engine._replace(slots=slots)) for slots in _halves(engine.slots, 1)],
        "CONTEXT_TOKENS": [
            (tokens, engine._replace(context_tokens=tokens))
            for tokens in _halves(engine.context_tokens, CONTEXT_MIN)
        ],
        "SEQUENCES_MAX": [
            (count, engine._replace(sequences=count)) for count in _halves(engine.sequences, 1)
        ],
        "BATCHED_TOKENS_MAX": [
            (tokens, engine._replace(batched_tokens=tokens))
            for tokens in _halves(engine.batched_tokens or BATCHED_TOKENS, engine.places)
        ],
        "TENSOR_PARALLEL": [(cards, engine._replace(cards=cards)) for cards in spreads],
        "QUANTIZATION": [("fp8", engine._replace(quantized=True))] if may_quantize else [],
    }
    remedies = _first_fitting(
        {
            setting: [(str(value), needed_on_card(base, changed)) for value, changed in values]
            for setting, values in tries.items()
        },
        room,
    )
    most = round(SHARE_MAX - trainer_share, 2)
    if share < most and needed_on_card(base, engine).total <= int(card_bytes * most):
        remedies.append(Remedy("GPU_MEMORY_SHARE", f"{most:g}"))
    return remedies


def host_remedies(base: BaseSizes, host: HostSizes, room: int) -> list[Remedy]:
    """List the settings each of which alone makes everything fit into ``room`` bytes of a machine."""
    tries = {
        "REPLICAS": [(count, host._replace(replicas=count)) for count in _halves(host.replicas, 1)],
        "KV_CACHE_GIB": [(gib, host._replace(cache_gib=gib)) for gib in _halves(host.cache_gib, 1)],
        "TRAINING": [("off", host._replace(trains=False))] if host.trains else [],
    }
    return _first_fitting(
        {
            setting: [(str(value), needed_on_host(base, changed)) for value, changed in values]
            for setting, values in tries.items()
        },
        room,
    )


def _first_fitting(tries: Mapping[str, Sequence[tuple[str, Needed]]], room: int) -> list[Remedy]:
    found = (
        (setting, next((value for value, needed in values if needed.total <= room), None))
        for setting, values in tries.items()
    )
    return [Remedy(setting, value) for setting, value in found if value is not None]


def _halves(number: int, least: int) -> list[int]:
    """Return the halves of a number, of that and so on, as long as they are not below ``least``."""
    found: list[int] = []
    while number // 2 >= least:
        number //= 2
        found.append(number)
    return found


def _is_alike(base: BaseSizes, cards: int) -> bool:
    kv_heads = base.kv_heads
    return base.heads % cards == 0 and (kv_heads % cards == 0 or cards % kv_heads == 0)
