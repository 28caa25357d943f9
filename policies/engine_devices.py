"""Chooses the default options of an engine on GPUs, and refuses options that cannot work together.

Sizes that suit a processor leave a large card idle: with 16 sequences it computes 16 tokens in the time of
256. So the defaults of a machine with GPUs follow the memory of its smallest one.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple

EngineDtype = Literal["auto", "bfloat16", "float16", "float32"]
Quantization = Literal["none", "fp8"]

GIB = 2**30
MEMORY_SHARE = 0.92
"""The share of a card's memory that a replica of vLLM takes where it is alone: vLLM's own default."""

MEMORY_SHARE_SHARED = 0.90
"""The same of a card on which there is a trainer too, whose share is taken off: two contexts of CUDA."""


class Profile(NamedTuple):
    """The default sizes of a replica: places, adapter slots, context, and requests of a tenant that wait."""

    sequences: int
    slots: int
    context_tokens: int
    waiting: int


PROCESSOR = Profile(16, 16, 2048, 64)
SMALL_CARD = Profile(16, 8, 2048, 64)
CARDS = (
    (70 * GIB, Profile(256, 32, 32768, 1024)),
    (20 * GIB, Profile(64, 16, 8192, 256)),
    (0, SMALL_CARD),
)
"""From which memory on a card has which profile."""


def profile_of(card_bytes: int | None) -> Profile:
    """Return the default sizes on a card of this memory, the least ones if that is not known."""
    return next(profile for least, profile in CARDS if (card_bytes or 0) >= least)


class Card(NamedTuple):
    """A GPU: its memory in bytes and its compute capability, such as (9, 0)."""

    bytes: int
    capability: tuple[int, int]


class Asked(NamedTuple):
    """What the settings ask of each replica. ``memory_share`` None is the default."""

    engine: Literal["vllm", "torch"]
    on_gpu: bool
    tensor_parallel: int = 1
    memory_share: float | None = None
    dtype: EngineDtype = "auto"
    quantization: Quantization = "none"
    batched_tokens: int | None = None
    places: int = 16
    trainer_share: float = 0.0
    trains: bool = False


class BaseShape(NamedTuple):
    """What decides of a base how it can be spread and computed. ``quantized`` names how its files are."""

    heads: int
    kv_heads: int
    quantized: str | None = None
    without_float16: bool = False
    has_experts: bool = False


class Refusal(NamedTuple):
    """A setting that cannot work, its value, and why, with what to do."""

    setting: str
    value: str
    reason: str


def memory_share(asked: Asked) -> float:
    """Return the share of a card's memory that a replica takes of each of its cards."""
    if asked.memory_share is not None:
        return asked.memory_share
    return round(MEMORY_SHARE_SHARED - asked.trainer_share, 4) if asked.trainer_share else MEMORY_SHARE


def refusal_of(asked: Asked, base: BaseShape, cards: int | None, card: Card | None) -> Refusal | None:
    """Return the first setting that cannot work, None if all can.

    ``cards`` is the most that one machine has, ``card`` the least of them; None is not known yet.
    """
    return next(_refusals(asked, base, cards, card), None)


def _refusals(asked: Asked, base: BaseShape, cards: int | None, card: Card | None) -> Iterator[Refusal]:
    if not asked.on_gpu or asked.engine == "torch":
        yield from _of_processors(asked)
        if base.has_experts and asked.engine == "vllm":
            reason = (
                "on a processor vLLM computes no experts beside adapters; use torch, or a machine with a GPU"
            )
            yield Refusal("ENGINE", "vllm", reason)
    else:
        yield from _of_spread(asked, base, cards)
        yield from _of_memory(asked)
        yield from _of_numbers(asked, base, card)
    if asked.batched_tokens is not None and asked.batched_tokens < asked.places:
        reason = (
            f"a step has a token of each of {asked.places} replies at least; raise it, or lower the other"
        )
        yield Refusal("BATCHED_TOKENS_MAX", str(asked.batched_tokens), f"{reason}, POPULACE_SEQUENCES_MAX")
    if base.quantized is not None and asked.engine == "torch":
        yield Refusal("ENGINE", "torch", f"the base's files are quantised ({base.quantized}), for vLLM alone")
    if base.quantized is not None and asked.trains:
        reason = f"nothing is trained on a base whose files are quantised ({base.quantized})"
        remedy = "use off, or the base as it was before with POPULACE_QUANTIZATION=fp8"
        yield Refusal("TRAINING", "auto", f"{reason}; {remedy}")


def _of_processors(asked: Asked) -> Iterator[Refusal]:
    """What needs a GPU, or vLLM."""
    why = "the torch engine has no such setting; use vLLM" if asked.engine == "torch" else "it needs GPUs"
    why += ", and no machine for engines has one" if asked.engine == "vllm" else ""
    if asked.tensor_parallel > 1:
        yield Refusal("TENSOR_PARALLEL", str(asked.tensor_parallel), why)
    if asked.memory_share is not None:
        yield Refusal("GPU_MEMORY_SHARE", str(asked.memory_share), why)
    if asked.quantization != "none":
        yield Refusal("QUANTIZATION", asked.quantization, why)
    if asked.dtype == "float16":
        yield Refusal("ENGINE_DTYPE", asked.dtype, "processors compute it slowly or not at all; use bfloat16")
    if asked.batched_tokens is not None and asked.engine == "torch":
        yield Refusal("BATCHED_TOKENS_MAX", str(asked.batched_tokens), why)


def _of_spread(asked: Asked, base: BaseShape, cards: int | None) -> Iterator[Refusal]:
    spread = asked.tensor_parallel
    if cards is not None and spread > cards:
        yield Refusal("TENSOR_PARALLEL", str(spread), f"no machine for engines has more than {cards} GPUs")
    if base.heads % spread:
        reason = f"the base has {base.heads} attention heads, which {spread} GPUs cannot share alike"
        yield Refusal("TENSOR_PARALLEL", str(spread), reason)
    elif base.kv_heads % spread and spread % base.kv_heads:
        reason = f"the base has {base.kv_heads} heads of keys, which {spread} GPUs cannot share alike"
        yield Refusal("TENSOR_PARALLEL", str(spread), reason)


def _of_memory(asked: Asked) -> Iterator[Refusal]:
    if asked.memory_share is not None and asked.memory_share + asked.trainer_share > 1:
        reason = f"the trainer has {asked.trainer_share:g} of the same GPU; both together are 1 at most"
        yield Refusal(
            "GPU_MEMORY_SHARE", f"{asked.memory_share:g}", f"{reason} (POPULACE_TRAINING_GPU_SHARE)"
        )


def _of_numbers(asked: Asked, base: BaseShape, card: Card | None) -> Iterator[Refusal]:
    """What the card, or the base, does not compute with."""
    if asked.quantization != "none" and base.quantized is not None:
        reason = (
            f"the base's files are quantised already ({base.quantized}), and are served as they are; use none"
        )
        yield Refusal("QUANTIZATION", asked.quantization, reason)
    if asked.dtype == "float16" and base.without_float16:
        yield Refusal("ENGINE_DTYPE", "float16", "this base overflows in it; use bfloat16 or float32")
    if card is None:
        return
    has = "a GPU here has compute capability {}.{}".format(*card.capability)
    if asked.dtype == "bfloat16" and card.capability < (8, 0):
        yield Refusal("ENGINE_DTYPE", "bfloat16", f"it needs compute capability 8.0, and {has}; use float16")
    if asked.quantization == "fp8" and card.capability < (8, 0):
        yield Refusal("QUANTIZATION", "fp8", f"it needs compute capability 8.0, and {has}; use none")
