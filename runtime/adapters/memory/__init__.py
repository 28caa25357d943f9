"""δ-mem as tensors: the layers of a memory module, its gates and its answer head, and a person's state.

``module`` is the file that all people share, ``state`` the bytes that one person owns. ``layer`` and ``scan``
are the published rule, ``gated_layer``, ``gates`` and ``answer_head`` what modules with gates do.
``attached`` puts a module into a model of transformers; it is the reference that vLLM's side
(``engines/vllm_memory``) is held against.

How a module is trained is in ``module_training``; when a state is read and written is decided by the actors.
"""
