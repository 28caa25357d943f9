"""The keys of the rows by which a shard follows its journal; ``storage/journal/shipping.py`` has the values.

Like all rows that say something of the shard itself and of none of its models, they begin with ``!``.
"""

from populace.storage.records import keys

JOURNAL_KEY = b"!journal"

_SHARD = b"!"
_KEY_ID = b"!key "
_SHIPPING = b"!shipping "


def is_data_key(key: bytes) -> bool:
    """Whether the key is that of a wrapped data key, or a prefix of such keys."""
    return key.startswith(keys.all_data_keys())


def key_id_of(data_key: bytes) -> bytes:
    """The key under which a journal has the id of a data key, or the prefix for a prefix of data keys."""
    return _KEY_ID + data_key


def data_key_of(key_id: bytes) -> bytes:
    """Return the data key whose id is under this key."""
    return key_id[len(_KEY_ID) :]


def all_key_ids() -> bytes:
    """The prefix of the ids of data keys, which a shard has only while it is made of its journal."""
    return _KEY_ID


def revision_digest(key: bytes) -> str | None:
    """Return the digest in the key of a revision; None for another key."""
    return key[-32:].hex() if key.startswith(keys.all_revisions()) else None


def is_of_shard(key: bytes) -> bool:
    """Whether the row says something of the shard itself, and of none of its models."""
    return key.startswith(_SHARD)


def shipping(commit: int) -> bytes:
    """The key of the changes of a commit that are not in the journal yet."""
    return _SHIPPING + commit.to_bytes(8, "big")


def shipping_number(key: bytes) -> int:
    """Return the commit of a key of ``shipping``."""
    return int.from_bytes(key[len(_SHIPPING) :], "big")


def all_shipping() -> bytes:
    """The prefix of the changes that are not in the journal yet, which sort by commit."""
    return _SHIPPING
