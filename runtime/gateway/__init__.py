"""The HTTP interface: FastAPI routes, OpenAI's and Populace's own, in front of the hosts.

``schema`` has the request bodies, ``wire`` the completions sent back, ``errors`` the status of each error
class. A route translates and calls a host or an engine, and decides nothing. ``completions`` and
``exchange`` serve the chat.
Each request is bounded (``body_limit``), counted, and belongs to the tenant of its API key (``access``).

No shard is opened here, and neither torch nor vLLM is imported: ``adapter_desk`` has another process for it.
"""
