"""The HTTP face: FastAPI routes in OpenAI's words, and Populace's own, in front of the hosts.

``schema`` is what comes in, ``wire`` what goes out, ``errors`` the status of each error class; a route
translates and calls a host or an engine, and decides nothing. ``completions`` and ``exchange`` are the chat.
Each request is bounded (``body_limit``), counted, and belongs to the tenant of its API key (``access``).

No shard is opened here, and neither torch nor vLLM is imported: ``adapter_desk`` has another process for it.
"""
