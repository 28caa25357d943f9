"""Writes feedback to rows beside the log, and reads it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from itertools import islice

from populace.actors.clock import Clock
from populace.actors.errors import InvalidRequest
from populace.actors.feedback import Feedback, Opinion
from populace.actors.forgetting import SAID_ROLES
from populace.actors.keepers.owned_shards import OwnedShards
from populace.actors.turn import ModelId, operation_of
from populace.storage.records.records import FeedbackRecord
from populace.storage.records.transaction import ReadTransaction, WriteTransaction
from populace.storage.rows import feedback, ledger
from populace.storage.rows.forgetting import FORGOTTEN_ROLE


class FeedbackKeeper:
    """Keeps the feedback on one host's models. Each call is one read or one group-committed write."""

    def __init__(self, shards: OwnedShards, shard_of: Callable[[ModelId], int], *, clock: Clock) -> None:
        self._shards = shards
        self._shard_of = shard_of
        self._clock = clock

    async def give(self, model: ModelId, on: int | str, opinion: Opinion, key: str | None) -> Feedback:
        """See ``Hosts.give_feedback``."""
        opinion.check()
        position = on if isinstance(on, int) else self._position(model, on)
        said = json.dumps(asdict(opinion), sort_keys=True).encode()
        body_hash = hashlib.blake2b(said, digest_size=32).digest()
        record = FeedbackRecord(
            position=position,
            operation=f"said-{body_hash.hex()}" if key is None else operation_of(key),
            body_hash=body_hash,
            created_ms=self._clock.epoch_ms(),
            **asdict(opinion),
        )

        def give(txn: WriteTransaction) -> FeedbackRecord:
            about = ledger.read_interaction(txn, *model, position) if position >= 0 else None
            # A correction of a note could be neither found nor forgotten.
            is_note = about is not None and about.messages[0][0] in SAID_ROLES - {FORGOTTEN_ROLE}
            if is_note or (about is not None and about.answer is None):
                raise InvalidRequest(
                    f"Turn {position} has no reply that feedback could be about: name one that was answered.",
                    "position",
                )
            named = _named(txn, model, record) if key is None else record
            return feedback.give_feedback(txn, *model, named)

        return feedback_view(model, await self._shards.write(self._shard_of(model), give))

    def read(self, model: ModelId, start: int, limit: int) -> tuple[Feedback, ...]:
        """See ``Hosts.read_feedback``."""
        with self._shards.read(self._shard_of(model)) as txn:
            ledger.read_head(txn, *model)
            walk = islice(feedback.walk_feedback(txn, *model, start), limit)
            return tuple(feedback_view(model, record) for record in walk)

    def _position(self, model: ModelId, completion_id: str) -> int:
        with self._shards.read(self._shard_of(model)) as txn:
            return feedback.find_position(txn, *model, completion_id)


def _named(txn: ReadTransaction, model: ModelId, record: FeedbackRecord) -> FeedbackRecord:
    """Return what is given without a key with an operation id: that of the same opinion if it is a retry.

    It is one if nothing on the turn spoke of the same since: who changes their mind, and changes it back, has
    said something new. ``record`` has the id that their opinion has by itself.
    """
    given = feedback.read_feedback_on(txn, *model, record.position) if record.position >= 0 else []
    about = _said_of(record)
    of_the_same = (one for one in given if not about.isdisjoint(_said_of(one)))
    newest = max(of_the_same, key=lambda one: one.created_ms, default=None)
    if newest is not None and newest.body_hash == record.body_hash:
        return newest
    return record.model_copy(update={"operation": f"{record.operation}-{len(given)}"})


def _said_of(record: FeedbackRecord) -> set[str]:
    """Return what the feedback speaks of; a rating says what a thumb says."""
    spoken = {
        "thumb": record.thumb if record.rating is None else record.rating,
        "correction": record.correction,
        "reward": record.reward,
    }
    return {name for name, value in spoken.items() if value is not None}


def feedback_view(model: ModelId, record: FeedbackRecord) -> Feedback:
    opinion = Opinion(record.thumb, record.rating, record.correction, record.reward)
    return Feedback(model, record.position, opinion, record.created_ms)
