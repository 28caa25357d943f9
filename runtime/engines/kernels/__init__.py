"""Shared parts of the loops that numba compiles for CPUs: how they are compiled, and bfloat16 as bits.

The loops themselves are beside what they speed up, in ``vllm_lora`` and ``vllm_memory``. No other module
imports numba.
"""
