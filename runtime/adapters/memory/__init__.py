"""δ-mem as tensors: the parts of a memory module, and the memory state of a personal model.

``module`` is the file that all personal models share, ``state`` the bytes that one of them owns. ``layer``
and ``scan`` implement the published rule; ``gated_layer`` is part of gated modules. ``attached`` runs a
module in a transformers model, the reference for ``engines/vllm_memory``.

Modules are trained by ``examples/memory_module``. The actors decide when a state is read and written.
"""
