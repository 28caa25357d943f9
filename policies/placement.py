"""Places personal models: model → shard → host, by arithmetic that never changes.

The shard count of a store only changes when all of its rows are moved (``storage/resharding``), so
``shard_of`` is part of the on-disk format: another function would look for every model in the wrong
environment.
"""

from hashlib import blake2b

KEY_SHARD_TENANT = "\x00keys"
"""API keys live in the shard of this pseudo tenant and their id, and so does what is said of a tenant.

No tenant's name can equal it."""


def shard_of(tenant: str, model: str, shards: int) -> int:
    """Return the shard in ``[0, shards)`` that holds the model; the same in every process and release."""
    assert shards > 0
    digest = blake2b(digest_size=8)
    for part in (tenant, model):
        data = part.encode()
        # Without the length, ("ab", "c") and ("a", "bc") would be the same input.
        digest.update(len(data).to_bytes(4, "big"))
        digest.update(data)
    return int.from_bytes(digest.digest(), "big") % shards


def shard_of_key(key_id: str, shards: int) -> int:
    """Return the shard in ``[0, shards)`` that holds the API key, or what is said of a tenant."""
    return shard_of(KEY_SHARD_TENANT, key_id, shards)


def host_of(shard: int, hosts: int) -> int:
    """Return the host in ``[0, hosts)`` that owns the shard."""
    assert shard >= 0
    assert hosts > 0
    return shard % hosts


def shards_of(host: int, shards: int, hosts: int) -> tuple[int, ...]:
    """Return the shards that the host owns, ascending; none if there are more hosts than shards."""
    assert 0 <= host < hosts
    return tuple(range(host, shards, hosts))
