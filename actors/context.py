"""The part of a prompt that is not the conversation: earlier turns that were retrieved for it.

They stand at the end of the prompt's first message, the system message. If the prompt has none, one is made;
a base's chat template then leaves out its default system text, as for any other.
"""

import hashlib
from collections.abc import Sequence

from populace.actors.engine import Message
from populace.policies.retrieval import Exchange, context_text

DIGEST_BYTES = 16


def with_context(messages: tuple[Message, ...], exchanges: Sequence[Exchange]) -> tuple[Message, ...]:
    """Add the exchanges to the system message of the messages, which is made if there is none."""
    if not exchanges:
        return messages
    text = context_text(exchanges)
    if messages and messages[0].role == "system":
        return (Message("system", f"{messages[0].content}\n\n{text}"), *messages[1:])
    return (Message("system", text), *messages)


def context_digest(exchanges: Sequence[Exchange]) -> bytes:
    """Digest what a prompt says of the exchanges: BLAKE2b-128 of the text, empty without exchanges."""
    text = context_text(exchanges).encode("utf-8", "replace")
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest() if exchanges else b""
