"""Finds turns that repeat forgotten words, of what each turn says by itself and beside its messages."""

import json
from collections.abc import Callable, Sequence

from populace.actors.feedback import Feedback
from populace.policies.ingestion import RoleAndContent, plain_text, turn_start, was_added
from populace.storage.records.records import InteractionRecord

SAME_CHARACTERS_MIN = 12
"""A shorter message counts as repeated only by an equal one: "yes" is in half of all replies."""


def said_here(record: InteractionRecord) -> list[RoleAndContent]:
    """The turn's own messages, and the system messages before them: no digest takes those out."""
    own = 0 if was_added(record.messages) else turn_start(record.messages)
    return [
        message for index, message in enumerate(record.messages) if index >= own or message[0] == "system"
    ]


def said_beside(record: InteractionRecord, given: Sequence[Feedback]) -> list[str]:
    """The corrections of a turn's reply, and the metadata of its response."""
    corrections = (feedback.opinion.correction for feedback in given)
    return [*(text for text in corrections if text), *_metadata(record.note)]


def _metadata(note: str) -> list[str]:
    try:
        metadata: dict[str, object] | None = json.loads(note).get("metadata")
        return [str(value) for value in (metadata or {}).values()]
    except (ValueError, AttributeError):  # no note of ours: the log was imported
        return [note]


def same_words(
    gone: Sequence[Sequence[RoleAndContent]],
) -> Callable[[InteractionRecord, Sequence[Feedback]], bool]:
    """Return a test whether a turn repeats, word for word, what was said in the ``gone`` messages.

    What only their system messages say does not count: many clients send the same one with every turn.
    """
    spoken = ([message for message in messages if message[0] != "system"] for messages in gone)
    said = {text for messages in spoken for text in _said(messages)}
    long = [text for text in said if len(text) >= SAME_CHARACTERS_MIN]

    def is_same(record: InteractionRecord, given: Sequence[Feedback]) -> bool:
        beside = [record.reply, *said_beside(record, given)]
        texts = [*_said(said_here(record)), *(plain_text(text).casefold() for text in beside)]
        return any(text in said for text in texts) or any(part in text for part in long for text in texts)

    return is_same


def _said(messages: Sequence[RoleAndContent]) -> list[str]:
    """The texts of messages that are no replies, case-folded."""
    return [
        text for role, content in messages if role != "assistant" and (text := plain_text(content).casefold())
    ]
