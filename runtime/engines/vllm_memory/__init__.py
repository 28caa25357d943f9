"""δ-mem in vLLM: each request of a batch reads and writes the state of its own person.

A request carries its state in (``request``), the worker steps the states beside the base's layers, and the
state that a reply left goes out with its last token. ``prefix_cache`` decides which cached blocks a request
with a memory may share. The mathematics is that of ``adapters/memory``; here is only what vLLM's batches,
chunks and preemption ask for.
"""
