"""The keys of a shard: one sorted key space, laid out so that each query is the scan of a prefix.

On disk (schema 5), every integer big-endian, every name ASCII without NUL::

    !epoch                                    -> u64 epoch, owner (UTF-8)
    !erased                                   -> i64 ms, u64 count: the erasures since the last compaction
    !shard                                    -> u32 schema, u32 shard, u32 shard count
    !served                                   -> i64 ms, until when the shard was served
    !journal, !shipping commit (u64)          -> see ``storage/records/journal_keys.py``
    d tenant NUL name NUL                     -> DataKeyRecord
    i tenant NUL name NUL                     -> IdentityRecord
    h tenant NUL name NUL                     -> HeadRecord
    a tenant NUL name NUL alias               -> revision digest, 64 ASCII hex digits
    r tenant NUL name NUL digest (32 bytes)   -> RevisionRecord
    l tenant NUL name NUL position (u64)      -> InteractionRecord, sealed
    o tenant NUL name NUL BLAKE2b-128(op id)  -> OperationRecord, sealed
    f tenant NUL name NUL position (u64) BLAKE2b-128(op id)  -> FeedbackRecord, sealed
    j tenant NUL name NUL number (u64)        -> JobRecord, sealed
    t tenant NUL name NUL                     -> u64 number: the job that is open
    J tenant NUL name NUL                     -> TasksRecord, sealed: what the open job is rewarded for
    K tenant NUL name NUL digest (32 bytes)   -> KeptRecord, sealed: a revision whose training is kept
    u tenant NUL name NUL                     -> nothing; a model with unsettled feedback or turns
    G tenant NUL name NUL                     -> MemberRecord: it takes part in the population's answers
    P tenant NUL name NUL                     -> ProfileRecord, sealed: how it answers the probes
    C tenant NUL name NUL                     -> ContributorRecord: whether everybody may learn from it
    F tenant NUL name NUL                     -> ForgottenRecord, sealed: the turns that were forgotten
    q tenant NUL name NUL                     -> SuiteRecord, sealed: the questions that it has to answer
    w tenant NUL name NUL                     -> KnownRecord, sealed: what it answered about its person
    m tenant NUL name NUL                     -> MemoryRecord, sealed
    s tenant NUL name NUL                     -> SnapshotRecord, sealed
    e data key id (16 bytes)                  -> ErasureRecord
    x digest (32 bytes)                       -> nothing; an adapter that an erased model had
    k BLAKE2b-128(key id)                     -> ApiKeyRecord
    T tenant NUL                              -> TenantRecord: what it may take

Sealed values are encrypted with the model's data key, see ``storage/records/sealing.py``; in schema 2 they
were plain, and there were no ``d``, ``e`` and ``x``. Schemas 3 and 4 have no ``f``, ``j``, ``t``, ``J``,
``K``, ``u``, ``G``, ``P``, ``C``, ``F``, ``q``, ``w`` and ``T``; the adapters' files of these two differ.

The kind comes first so that listing a tenant's models reads identities only. Names end in NUL, so none is a
prefix of another. Ids from outside are hashed, to fit LMDB's 511-byte keys; the longest has 195 bytes.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from hashlib import blake2b

SCHEMA = 5
"""The layout that this release writes, and the newest that it reads."""

NAME_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
RESERVED_MODEL_NAMES = frozenset({"base", "population", "import"})
"""Names with a meaning of their own in the APIs; no personal model may have one."""

EPOCH_KEY = b"!epoch"
ERASED_KEY = b"!erased"
SHARD_KEY = b"!shard"
SERVED_KEY = b"!served"

_DATA_KEY = b"d"
_IDENTITY = b"i"
_HEAD = b"h"
_ALIAS = b"a"
_REVISION = b"r"
_INTERACTION = b"l"
_OPERATION = b"o"
_FEEDBACK = b"f"
_JOB = b"j"
_OPEN_JOB = b"t"
_TASKS = b"J"
_KEPT = b"K"
_NEWS = b"u"
_MEMBER = b"G"
_PROFILE = b"P"
_CONTRIBUTOR = b"C"
_FORGOTTEN = b"F"
_SUITE = b"q"
_KNOWN = b"w"
_MEMORY = b"m"
_SNAPSHOT = b"s"
_ERASURE = b"e"
_ORPHAN = b"x"
_API_KEY = b"k"

_KINDS = {
    _INTERACTION[0]: "interaction",
    _OPERATION[0]: "operation",
    _FEEDBACK[0]: "feedback",
    _JOB[0]: "job",
    _TASKS[0]: "tasks",
    _KEPT[0]: "kept",
    _PROFILE[0]: "profile",
    _FORGOTTEN[0]: "forgotten",
    _SUITE[0]: "suite",
    _KNOWN[0]: "known",
    _MEMORY[0]: "memory",
    _SNAPSHOT[0]: "snapshot",
}
"""The kinds of sealed rows, by the first byte of their keys."""

_DIGEST_PATTERN = re.compile(r"[0-9a-f]{64}")
_HASH_BYTES = 16
_MODEL_PARTS_KEPT = 4096
"""The size of a cache: a turn makes five keys of its model at least, and checking two names takes 0.5 µs."""


def name_problem(name: str, *, reserved: Collection[str] = ()) -> str | None:
    """Say which rule the name breaks, or None if it is allowed."""
    if NAME_PATTERN.fullmatch(name) is None:
        near = "" if NAME_PATTERN.fullmatch(name.lower()) is None else f"; `{name.lower()}` is allowed"
        return f"1 to 64 characters of a-z, 0-9, _ and -, and the first is a letter or digit{near}"
    if name in reserved:
        return f"{', '.join(sorted(reserved))} are reserved"
    return None


def alias_problem(alias: str) -> str | None:
    """Say which rule the alias breaks, or None if it is allowed."""
    if is_digest(alias):
        return "it reads as a revision digest"
    return name_problem(alias)


def is_digest(text: str) -> bool:
    """Whether the text is a revision digest: 64 lower-case hex digits."""
    return _DIGEST_PATTERN.fullmatch(text) is not None


def identity(tenant: str, name: str) -> bytes:
    return _IDENTITY + model_part(tenant, name)


def identities(tenant: str) -> bytes:
    """The prefix of the tenant's identities, which sort by name."""
    return _IDENTITY + _name(tenant)


def all_identities() -> bytes:
    """The prefix of every identity in the shard."""
    return _IDENTITY


def head(tenant: str, name: str) -> bytes:
    return _HEAD + model_part(tenant, name)


def alias(tenant: str, name: str, alias: str) -> bytes:
    assert alias_problem(alias) is None, alias
    return aliases(tenant, name) + alias.encode()


def aliases(tenant: str, name: str) -> bytes:
    """The prefix of the model's aliases; the rest of each key is the alias."""
    return _ALIAS + model_part(tenant, name)


def all_aliases() -> bytes:
    """The prefix of every model's aliases in the shard."""
    return _ALIAS


def revision(tenant: str, name: str, digest: str) -> bytes:
    assert is_digest(digest), digest
    return revisions(tenant, name) + bytes.fromhex(digest)


def revisions(tenant: str, name: str) -> bytes:
    """The prefix of the model's revisions."""
    return _REVISION + model_part(tenant, name)


def all_revisions() -> bytes:
    """The prefix of every model's revisions in the shard; each key ends in the digest."""
    return _REVISION


def interaction(tenant: str, name: str, position: int) -> bytes:
    """The key of an interaction; these sort by position, so that reading the log is one scan."""
    return interactions(tenant, name) + position.to_bytes(8, "big")


def interactions(tenant: str, name: str) -> bytes:
    """The prefix of the model's log."""
    return _INTERACTION + model_part(tenant, name)


def operation(tenant: str, name: str, operation: str) -> bytes:
    return operation_of_hash(tenant, name, operation_hash(operation))


def operation_of_hash(tenant: str, name: str, hashed: bytes) -> bytes:
    """The key of an operation of which only the hash of its id is known."""
    return operations(tenant, name) + hashed


def operation_hash(operation: str) -> bytes:
    """The hash of the operation id, as the operation's key contains it."""
    return _hash(operation)


def operations(tenant: str, name: str) -> bytes:
    """The prefix of the model's operation rows."""
    return _OPERATION + model_part(tenant, name)


def feedback(tenant: str, name: str, position: int, operation: str) -> bytes:
    """The key of a feedback row; these sort by the interaction that they are about."""
    return feedback_on(tenant, name, position) + _hash(operation)


def feedback_on(tenant: str, name: str, position: int) -> bytes:
    """The prefix of the feedback on one interaction."""
    return all_feedback(tenant, name) + position.to_bytes(8, "big")


def all_feedback(tenant: str, name: str) -> bytes:
    """The prefix of the feedback on all of the model's interactions."""
    return _FEEDBACK + model_part(tenant, name)


def job(tenant: str, name: str, number: int) -> bytes:
    """The key of a job; these sort by number, the order in which they were asked for."""
    return jobs(tenant, name) + number.to_bytes(8, "big")


def jobs(tenant: str, name: str) -> bytes:
    """The prefix of the model's training jobs."""
    return _JOB + model_part(tenant, name)


def jobs_of_tenant(tenant: str) -> bytes:
    """The prefix of the training jobs of all the tenant's models."""
    return _JOB + _name(tenant)


def open_job(tenant: str, name: str) -> bytes:
    return _OPEN_JOB + model_part(tenant, name)


def open_jobs() -> bytes:
    """The prefix of every open job in the shard; the rest of each key is the model."""
    return _OPEN_JOB


def tasks(tenant: str, name: str) -> bytes:
    return _TASKS + model_part(tenant, name)


def kept(tenant: str, name: str, digest: str) -> bytes:
    assert is_digest(digest), digest
    return kept_of(tenant, name) + bytes.fromhex(digest)


def kept_of(tenant: str, name: str) -> bytes:
    """The prefix of the model's revisions whose trainings are kept."""
    return _KEPT + model_part(tenant, name)


def all_kept() -> bytes:
    """The prefix of every kept training in the shard; each key ends in the revision's digest."""
    return _KEPT


def unsettled(tenant: str, name: str) -> bytes:
    return _NEWS + model_part(tenant, name)


def member(tenant: str, name: str) -> bytes:
    return _MEMBER + model_part(tenant, name)


def members(tenant: str) -> bytes:
    """The prefix of the tenant's models that take part, which sort by name."""
    return _MEMBER + _name(tenant)


def all_members() -> bytes:
    """The prefix of every model that takes part; the rest of each key is the model."""
    return _MEMBER


def profile(tenant: str, name: str) -> bytes:
    return _PROFILE + model_part(tenant, name)


def contributor(tenant: str, name: str) -> bytes:
    return _CONTRIBUTOR + model_part(tenant, name)


def contributors(tenant: str) -> bytes:
    """The prefix of the tenant's models that agreed, once at least, to be learned from; by name."""
    return _CONTRIBUTOR + _name(tenant)


def all_unsettled() -> bytes:
    """The prefix of every model with unsettled feedback; the rest of each key is the model."""
    return _NEWS


def model_of(key: bytes) -> tuple[str, str]:
    """Return tenant and name of the model that a row belongs to, from its key."""
    tenant, name, *_ = key[1:].split(b"\0")
    return tenant.decode(), name.decode()


def forgotten(tenant: str, name: str) -> bytes:
    return _FORGOTTEN + model_part(tenant, name)


def suite(tenant: str, name: str) -> bytes:
    return _SUITE + model_part(tenant, name)


def known(tenant: str, name: str) -> bytes:
    return _KNOWN + model_part(tenant, name)


def memory(tenant: str, name: str) -> bytes:
    return _MEMORY + model_part(tenant, name)


def snapshot(tenant: str, name: str) -> bytes:
    return _SNAPSHOT + model_part(tenant, name)


def data_key(tenant: str, name: str) -> bytes:
    return _DATA_KEY + model_part(tenant, name)


def all_data_keys() -> bytes:
    """The prefix of the wrapped data keys of all models in the shard."""
    return _DATA_KEY


def is_sealed(key: bytes) -> bool:
    """Whether the row's value is sealed on disk."""
    return key[0] in _KINDS


def kind_of(key: bytes) -> str:
    """The name of a sealed row's record kind, for messages."""
    return _KINDS[key[0]]


def data_key_of(key: bytes) -> bytes:
    """Return the key of the data key with which a row of a model is sealed."""
    return _DATA_KEY + key[1 : key.index(0, key.index(0) + 1) + 1]


def sealed_prefixes(tenant: str, name: str) -> tuple[bytes, ...]:
    """The prefixes of the model's sealed rows."""
    part = model_part(tenant, name)
    return tuple(bytes((kind,)) + part for kind in sorted(_KINDS))


def erasure(key_id: bytes) -> bytes:
    return _ERASURE + key_id


def erasures() -> bytes:
    """The prefix of every erasure in the shard; the rest of each key is the data key's id."""
    return _ERASURE


def orphan(digest: bytes) -> bytes:
    return _ORPHAN + digest


def orphans() -> bytes:
    """The prefix of the adapters that erased models had; the rest of each key is the digest."""
    return _ORPHAN


def api_key(key_id: str) -> bytes:
    return _API_KEY + _hash(key_id)


def api_keys() -> bytes:
    """The prefix of every API key in the shard."""
    return _API_KEY


def model_prefixes(tenant: str, name: str) -> tuple[bytes, ...]:
    """The prefixes that together cover every row of the model and of no other."""
    part = model_part(tenant, name)
    plain = (_DATA_KEY, _IDENTITY, _HEAD, _ALIAS, _REVISION, _OPEN_JOB, _NEWS, _MEMBER, _CONTRIBUTOR)
    return tuple(kind + part for kind in plain) + sealed_prefixes(tenant, name)


@lru_cache(maxsize=_MODEL_PARTS_KEPT)
def model_part(tenant: str, name: str) -> bytes:
    """The part after the kind in every key of the model; it is no prefix of another model's part."""
    return _name(tenant) + _name(name)


def _name(name: str) -> bytes:
    # Callers refuse a bad name with an error; one that gets this far would break the key space.
    assert NAME_PATTERN.fullmatch(name) is not None, name
    return name.encode() + b"\0"


def _hash(text: str) -> bytes:
    # An id may hold a lone surrogate from a JSON body, which strict UTF-8 refuses to encode.
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest()
