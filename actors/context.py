"""The part of a prompt that is not the conversation: earlier turns that were retrieved for it.

They stand at the end of the prompt's first message, the system message. If the prompt has none, one is made;
a base's chat template then leaves out its default system text, as for any other. If one of them tells what
the last message asks for, nothing but that one is read, in the form of ``reading_prompt``.
"""

import hashlib
from collections.abc import Sequence

from populace.actors.engine import Message
from populace.policies.degeneration import sound_part
from populace.policies.retrieval import Exchange, context_text
from populace.policies.tellings import READING_SHOWN, READING_TASK, telling_for

DIGEST_BYTES = 16


def with_context(messages: tuple[Message, ...], exchanges: Sequence[Exchange]) -> tuple[Message, ...]:
    """Add the exchanges to the messages. Where one is read, the last message is another than before.

    Replies that degenerated go in as far as they are sound: a model goes on with the noise that it reads.
    """
    messages = tuple(
        message._replace(content=sound_part(message.content)) if message.role == "assistant" else message
        for message in messages
    )
    if not exchanges:
        return messages
    if messages and messages[-1].role == "user":
        telling = telling_for(messages[-1].content, exchanges)
        if telling is not None:
            return reading_prompt(messages, telling.said)
    return _with_system(messages, context_text(exchanges))


def reading_prompt(messages: Sequence[Message], told: str) -> tuple[Message, ...]:
    """Return the prompt in which the last message, a question, is answered from what was told.

    Before it come examples of that, so the memory must not be written from it.
    """
    *earlier, asked = messages
    shown = [
        message
        for said, answer in READING_SHOWN
        for message in (Message("user", said), Message("assistant", answer))
    ]
    read = Message("user", f"{told} {asked.content}")
    return (*_with_system(tuple(earlier), READING_TASK), *shown, read)


def _with_system(messages: tuple[Message, ...], text: str) -> tuple[Message, ...]:
    """Add the text to the system message, which is made if there is none."""
    if messages and messages[0].role == "system":
        return (Message("system", f"{messages[0].content}\n\n{text}"), *messages[1:])
    return (Message("system", text), *messages)


def context_digest(exchanges: Sequence[Exchange]) -> bytes:
    """Digest what a prompt says of the exchanges: BLAKE2b-128 of the text, empty without exchanges."""
    text = context_text(exchanges).encode("utf-8", "replace")
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest() if exchanges else b""
