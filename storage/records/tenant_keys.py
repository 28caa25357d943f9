"""The keys of the rows that are about a tenant and none of its models, see ``keys.py``."""

from populace.storage.records import keys

_TENANT = b"T"


def tenant(name: str) -> bytes:
    """The key of what is said of a tenant, whose name must have passed ``keys.name_problem``."""
    return _TENANT + name.encode() + b"\0"


def all_tenants() -> bytes:
    """The prefix of what is said of tenants in the shard."""
    return _TENANT


def next_tenant(name: str) -> bytes:
    """A key behind those of all identities of a tenant and before those of any other one after it."""
    return keys.identities(name) + b"\xff"


def open_jobs_of(name: str) -> bytes:
    """The prefix of the open jobs of the tenant's models."""
    return keys.open_jobs() + name.encode() + b"\0"
