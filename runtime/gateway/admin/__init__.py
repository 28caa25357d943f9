"""Routes under ``/v1/admin``, for keys with the role ``admin``: API keys, and tenants with their limits.

``keys`` makes, shows, rotates, limits and revokes keys; ``tenants`` shows tenants and limits them. What these
do is operations of the hosts, as all else; ``populace key`` and ``populace tenant`` are their clients.
"""
