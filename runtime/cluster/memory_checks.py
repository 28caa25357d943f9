"""Whether the base fits, with what it is served with, before minutes of loading end in an error.

Only this machine's cards and memory are known here; of another machine, vLLM itself says it.
"""

from collections.abc import Sequence

from populace.base.sizes import read_sizes
from populace.cluster.store_side import StoreSide
from populace.policies.engine_devices import Asked, memory_share
from populace.policies.engine_memory import (
    GIB,
    BaseSizes,
    EngineSizes,
    HostSizes,
    Needed,
    Remedy,
    card_remedies,
    host_remedies,
    needed_on_card,
    needed_on_host,
)
from populace.settings import machine
from populace.settings.errors import MemoryTooSmall


def check_memory(side: StoreSide, asked: Asked, *, cards_max: int, replicas: int) -> None:
    """Raise ``MemoryTooSmall`` if a replica does not fit on a card here, or all of them into this machine.

    ``cards_max`` is the most cards of one machine, ``replicas`` how many this machine runs.
    """
    if not replicas:
        return
    base = read_sizes(side.base.directory, side.settings.engine_dtype)
    if asked.on_gpu:
        _check_card(side, asked, base, cards_max)
    else:
        _check_host(side, asked, base, replicas)


def _check_card(side: StoreSide, asked: Asked, base: BaseSizes, cards_max: int) -> None:
    card, settings, share = min(machine.cards(), default=None), side.settings, memory_share(asked)
    if card is None:
        return
    engine = EngineSizes(
        sequences=settings.sequences_max,
        slots=settings.adapter_slots,
        rank=settings.rank_max,
        context_tokens=side.info.context_tokens,
        batched_tokens=settings.batched_tokens_max,
        cards=settings.tensor_parallel,
        quantized=settings.quantization == "fp8",
        state_bytes=_state_bytes(side),
    )
    needed, room = needed_on_card(base, engine), int(card.bytes * share)
    if needed.total <= room:
        return
    remedies = card_remedies(
        base,
        engine,
        card.bytes,
        share,
        trainer_share=asked.trainer_share,
        cards_max=cards_max,
        may_quantize=card.capability >= (8, 0),
    )
    place = f"A GPU of {gib(card.bytes)}, of which a replica takes {share:g},"
    raise _refused(place, side.base.name, needed, room, remedies, "a larger GPU")


def _check_host(side: StoreSide, asked: Asked, base: BaseSizes, replicas: int) -> None:
    settings = side.settings
    host = HostSizes(
        replicas=replicas,
        cache_gib=settings.kv_gib if asked.engine == "vllm" else 0,
        warm_bytes=settings.warm_bytes_max,
        trains=settings.training != "off",
        places=asked.places,
        state_bytes=_state_bytes(side),
    )
    needed, room = needed_on_host(base, host), machine.memory_bytes()
    if needed.total > room:
        remedies = host_remedies(base, host, room)
        raise _refused(
            f"This machine, with {gib(room)},", side.base.name, needed, room, remedies, "more memory"
        )


def _state_bytes(side: StoreSide) -> int:
    return 0 if side.memory is None else side.memory.states.packed_bytes


def _refused(
    place: str, base: str, needed: Needed, room: int, remedies: Sequence[Remedy], larger: str
) -> MemoryTooSmall:
    parts = ", ".join(f"{what} {gib(size)}" for what, size in needed._asdict().items() if size)
    named = " or ".join(f"POPULACE_{remedy.setting}={remedy.value}" for remedy in remedies)
    remedy = (
        f"It fits with {named}"
        if named
        else f"No setting alone is enough: it takes {larger}, or a smaller base"
    )
    return MemoryTooSmall(
        place, base, gib(needed.total - room), f"It needs {gib(needed.total)}: {parts}", remedy
    )


def gib(size: int) -> str:
    """Say a number of bytes as people read it."""
    return f"{size / GIB:.2f} GiB"
