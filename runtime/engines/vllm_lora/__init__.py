"""LoRA in vLLM as Populace serves it: adapters are mapped from serving images, and read where they lie.

``loading`` is the worker's side of an adapter that comes and goes, ``cpu`` the layers, ``table`` their
matrices and the loop for the few tokens of a decoding step. vLLM's own LoRA is replaced through its plugin
entry point (``engines/vllm_plugin``).
"""
