"""Engines: from a prompt, an adapter and a memory state to tokens.

Two engines implement the protocol of ``actors/engine.py``: vLLM (``vllm_*``) and the torch reference
(``torch_*``). What they share has a module of its own: prompts, stop strings, limits, slots. ``replica``
serves an engine through Ray Serve, ``client`` is that engine in other processes, ``routing`` chooses the
replica, ``adapter_table`` with ``warm_tier`` keep the adapters that are requested, and ``work_counter``
adds up what is computed.

An engine knows no log and no personal model: it gets bytes and returns bytes.
"""
