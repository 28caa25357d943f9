"""One host: the active personal models, on one event loop, over the shards that it owns.

``model_host`` implements the protocol of ``actors/hosts.py``, and ``host_turns`` its turns.
``personal_model`` is one activation: a bounded mailbox, one turn at a time. ``activations`` holds them in a
budget of bytes. ``memory_keeper``, ``recaller``, ``retriever`` and ``forgetter`` serve a model's requests
other than turns.

What becomes durable goes through ``keepers/``.
"""
