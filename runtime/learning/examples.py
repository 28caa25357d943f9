"""From a log to examples: what the model was asked, with what went before, and what was thought of its reply.

What is held out is neither learned nor read: what an example to learn from was made after begins behind the
last held-out turn in it, whether the log knows that turn or the client sent it along, and what was retrieved
for it comes without those turns.
"""

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from populace.actors.context import with_context
from populace.actors.engine import Message
from populace.actors.feedback import Feedback, feedback_by_position, judged
from populace.actors.forgetting import SAID_ROLES
from populace.actors.turn import RAW_ROLE, Interaction
from populace.policies.hold_out import is_held_out
from populace.policies.lessons import Judgement
from populace.policies.retrieval import Exchange, exchange_of


class Example(NamedTuple):
    """An interaction to learn from or to be judged by.

    ``prompt`` has the turns before it, too, and tells of those that were retrieved for it.
    """

    position: int
    prompt: tuple[Message, ...]
    reply: str
    judged: Judgement

    @property
    def is_held_out(self) -> bool:
        return is_held_out(self.position)


def examples_of(log: Sequence[Interaction], feedback: Sequence[Feedback]) -> list[Example]:
    """Make an example of each interaction that is a conversation; ``log`` is gapless, in the log's order.

    Turns that only set the memory, forgotten ones, and raw prompts, are none. What ``log`` does not hold of
    history and of retrieved turns is left out.
    """
    opinions = feedback_by_position(feedback)
    held_out = {turn.reply for turn in log if is_held_out(turn.position)}
    examples: list[Example] = []
    for index, turn in enumerate(log):
        if turn.messages[0].role in (RAW_ROLE, *SAID_ROLES):
            continue
        prompt = (*_history(log[:index], turn), *turn.messages)
        retrieved = turn.retrieved
        if not is_held_out(turn.position):
            prompt = _behind(prompt, held_out)
            retrieved = tuple(position for position in retrieved if not is_held_out(position))
        prompt = with_context(prompt, _exchanges(log[:index], opinions, retrieved, turn.created_ms))
        judgement = judged(opinions.get(turn.position, ()))
        examples.append(Example(turn.position, prompt, turn.reply, judgement))
    return examples


def digest_of(examples: Sequence[Example]) -> str:
    """Digest examples: SHA-256, the same for the same data in the same order."""
    digest = hashlib.sha256()
    for example in examples:
        line = json.dumps(example, ensure_ascii=False, separators=(",", ":"))
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def _history(earlier: Sequence[Interaction], turn: Interaction) -> tuple[Message, ...]:
    """The earlier turns of the conversation that the reply was made after, oldest first."""
    if turn.conversation is None or turn.history_turns == 0:
        return ()
    same = [one for one in earlier if one.conversation == turn.conversation][-turn.history_turns :]
    return tuple(message for one in same for message in (*one.messages, Message("assistant", one.reply)))


def _exchanges(
    earlier: Sequence[Interaction],
    opinions: Mapping[int, Sequence[Feedback]],
    positions: Sequence[int],
    made_ms: int,
) -> list[Exchange]:
    """The earlier turns at the positions, with what was thought of them when the reply was made."""
    exchanges: list[Exchange] = []
    for turn in earlier if positions else ():
        if turn.position in positions:
            given = [one for one in opinions.get(turn.position, ()) if one.created_ms <= made_ms]
            exchange = exchange_of(turn.position, turn.messages, turn.reply, judged(given))
            exchanges += [] if exchange is None else [exchange]
    return exchanges


def _behind(prompt: tuple[Message, ...], held_out: Container[str]) -> tuple[Message, ...]:
    """Cut the prompt behind the last reply of those, but for system messages."""
    places = (at for at, one in enumerate(prompt) if one.role == "assistant" and one.content in held_out)
    last = max(places, default=-1)
    system = tuple(one for one in prompt[: last + 1] if one.role == "system")
    return system + prompt[last + 1 :]
