"""One host: personal models that are awake, on one event loop, over the shards that it owns.

``model_host`` answers the protocol of ``actors/hosts.py``. ``personal_model`` is one activation: a bounded
``mailbox``, one turn at a time, on the ``lifecycle`` that is on one screen. ``activations`` holds them in a
budget of bytes. ``memory_keeper``, ``recaller``, ``retriever`` and ``forgetter`` do what is asked of a model
besides turns.

What becomes durable goes through ``keepers/``.
"""
