"""The HTTP interface: FastAPI routes, OpenAI's and Populace's own, in front of the hosts.

``app`` puts the routes together, ``deployment`` runs them in Ray Serve, and ``operations`` says whether all
is well. Each room below has the routes of one subject, the bodies that they take (``schema``) and what only
they need; ``http`` has what every route needs, and ``metrics`` shows what other processes report. A route
translates and calls a host or an engine, and decides nothing.

No shard is opened here, and neither torch nor vLLM is imported: ``personal_models/adapter_service`` has
another process for it.
"""
