"""The record of what a training sampled and its rewards, from which the weights are made again exactly.

A record has the rounds of one training by the steps at which they began, as they were learned from, and the
rewards of the revisions that it was judged by; the replies to what its person asked again and again, by
who gave them; and the memory that was read. It is packed as deflated JSON, whose numbers come back as they
were.
"""

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

from populace.actors.engine import Message
from populace.actors.errors import NothingToTrain, TrainingFailed
from populace.learning.rollouts import Rollout
from populace.storage.records.errors import RecordInvalid

VERSION = 1


class Group(NamedTuple):
    """Replies to one prompt; ``at`` is its index in the method's ``prompts``."""

    at: int
    rollouts: list[Rollout]


class Round(NamedTuple):
    """The usable groups of a round that ``revision`` sampled; ``masked`` rollouts were of other revisions.

    No group at all: there was nothing more to learn, and the training ended.
    """

    revision: str
    masked: int
    groups: Sequence[Group]


class GivenReply(NamedTuple):
    """The text of a reply, and whether it is ``whole``: it ended by itself, and not within a sentence."""

    text: str
    whole: bool


class RolloutRecord:
    """The sampled replies of one training. ``tasks`` are the job's, packed, if it is rewarded for some."""

    def __init__(self, *, tasks: str = "", replays: bool = False) -> None:
        """Make an empty record. With ``replays`` a training takes its rounds from it and adds none."""
        self.tasks = tasks
        self.replays = replays
        self._rounds: dict[int, Round] = {}
        self._rewards: dict[str, list[float]] = {}
        self._given: dict[str, GivenReply] = {}
        self.memory: bytes | None = None
        """The memory that the replies read while they were learned; empty for none, None if nothing said."""

    @property
    def is_needed(self) -> bool:
        """Whether it has anything from which the same weights are made again, rounds apart."""
        return bool(self._given) or self.memory is not None

    @property
    def has_given(self) -> bool:
        """Whether any reply to a prompt is recorded; ``given`` returns it."""
        return bool(self._given)

    def given(self, who: str, prompt: Sequence[Message]) -> GivenReply | None:
        """Return the recorded reply of ``who``, a revision or a base or another teacher, to the prompt."""
        return self._given.get(_key(who, prompt))

    def give(self, who: str, prompt: Sequence[Message], reply: GivenReply) -> None:
        """Record the reply of ``who`` to the prompt."""
        self._given[_key(who, prompt)] = reply

    def begins(self, step: int) -> bool:
        """Whether a round has to begin here because one began here when it was recorded."""
        return self.replays and step in self._rounds

    def add(self, step: int, sampled: Round) -> None:
        """Record the round that begins at this step. One that began here before was not learned from."""
        if not self.replays:
            self._rounds[step] = sampled

    def round(self, name: str, step: int, revision: str) -> Round:
        """Return the recorded round of this step.

        Raises ``NothingToTrain`` where the training ended, and ``TrainingFailed`` if other weights than
        ``revision`` sampled it. Both name the model ``name``.
        """
        kept = self._rounds.get(step)
        if kept is None or kept.revision != revision:
            raise TrainingFailed(
                name,
                f"at step {step} its weights are not those that sampled its replies: "
                "other libraries, threads or neighbours in its steps have trained it",
            )
        if not kept.groups:
            raise NothingToTrain(name, f"its training ended at step {step}")
        return kept

    def judged(self, revision: str, rewards: list[float]) -> None:
        """Record the rewards of a revision for the held-out tasks."""
        if not self.replays:
            self._rewards[revision] = rewards

    def rewards(self, revision: str) -> list[float] | None:
        """Return the recorded rewards of a revision; None, to sample, if it has to be judged anew."""
        return self._rewards.get(revision) if self.replays else None

    def pack(self) -> bytes:
        rounds = [
            [step, kept.revision, kept.masked, [[group.at, _packed(group.rollouts)] for group in kept.groups]]
            for step, kept in self._rounds.items()
        ]
        whole = {
            "version": VERSION,
            "tasks": self.tasks,
            "rounds": rounds,
            "rewards": self._rewards,
            "given": self._given,
            "memory": base64.b64encode(self.memory or b"").decode(),
        }
        return zlib.compress(json.dumps(whole, separators=(",", ":")).encode())

    @classmethod
    def unpack(cls, data: bytes, *, replays: bool = False) -> Self:
        """Decode a record, empty for no bytes. Raises ``RecordInvalid``."""
        if not data:
            return cls(replays=replays)
        try:
            whole = json.loads(zlib.decompress(data))
            if whole["version"] != VERSION:
                raise RecordInvalid("rollouts", f"version {whole['version']} is not {VERSION}")
            record = cls(tasks=whole["tasks"], replays=replays)
            record._rewards = whole["rewards"]
            # A record of before has none.
            given = whole.get("given", {})
            record._given = {key: GivenReply(text, is_whole) for key, (text, is_whole) in given.items()}
            # Nor a memory: none was read in training then.
            record.memory = base64.b64decode(whole.get("memory", ""))
            for step, revision, masked, groups in whole["rounds"]:
                kept = [Group(at, _unpacked(replies, revision)) for at, replies in groups]
                record._rounds[step] = Round(revision, masked, kept)
        except (zlib.error, ValueError, KeyError, TypeError) as error:
            raise RecordInvalid("rollouts", f"they are damaged ({type(error).__name__})") from error
        return record


def _key(who: str, prompt: Sequence[Message]) -> str:
    """Digest a prompt and who is asked: the record says what was asked only to those who have it."""
    return hashlib.sha256(json.dumps([who, prompt]).encode()).hexdigest()


def _packed(rollouts: Sequence[Rollout]) -> list[list[Any]]:
    return [[rollout.reply_ids, rollout.log_probs, rollout.reward] for rollout in rollouts]


def _unpacked(replies: list[list[Any]], revision: str) -> list[Rollout]:
    """Return what is learned from of the rollouts: neither words nor seeds."""
    return [
        Rollout((), "", tuple(ids), tuple(log_probs), revision, 0, finished=True, reward=reward)
        for ids, log_probs, reward in replies
    ]
