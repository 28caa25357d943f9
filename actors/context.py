"""What stands in a prompt besides the conversation: earlier turns that were retrieved for it.

They are told in the system message, the first one of the prompt, behind what it says anyway. Where there
is none it is made, and what a base's chat template says in its place is left out, as for any other.
"""

import hashlib
from collections.abc import Sequence

from populace.actors.engine import Message
from populace.policies.retrieval import Exchange, context_text

DIGEST_BYTES = 16


def with_context(messages: tuple[Message, ...], exchanges: Sequence[Exchange]) -> tuple[Message, ...]:
    """Tell of the exchanges in the messages' system message; there may be one message more then."""
    if not exchanges:
        return messages
    text = context_text(exchanges)
    if messages and messages[0].role == "system":
        return (Message("system", f"{messages[0].content}\n\n{text}"), *messages[1:])
    return (Message("system", text), *messages)


def context_digest(exchanges: Sequence[Exchange]) -> bytes:
    """Digest what a prompt says of the exchanges: BLAKE2b-128 of the text, nothing for none."""
    text = context_text(exchanges).encode("utf-8", "replace")
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest() if exchanges else b""
