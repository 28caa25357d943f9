"""Makes examples of a log: the prompt of each turn with its history, the reply, and the feedback on it.

Held-out text never reaches training. The history of a training example begins after the last held-out turn in
it, whether that turn comes from the log or was sent again by the client, and the turns that were retrieved
for the example are used without the held-out ones.
"""

import hashlib
import json
from collections.abc import Container, Mapping, Sequence
from typing import NamedTuple

from populace.actors.context import with_context
from populace.actors.engine import Message
from populace.actors.example_lines import ExampleLine
from populace.actors.feedback import Feedback, feedback_by_position, judged
from populace.actors.forgetting import SAID_ROLES
from populace.actors.tool_calls import TOOL_ROLE
from populace.actors.turn import RAW_ROLE, Interaction
from populace.policies.history import is_same_conversation, with_history
from populace.policies.hold_out import held_out_lines, is_held_out
from populace.policies.ingestion import ADDED_ROLE, shown_later
from populace.policies.lessons import Judgement
from populace.policies.retrieval import Exchange, exchange_of


class Example(NamedTuple):
    """An interaction for training or, if it is held out, for evaluation.

    ``prompt`` includes the earlier turns of the conversation and a system message with the retrieved turns.
    ``position`` is that in the log, or the number of the line in a file.
    """

    position: int
    prompt: tuple[Message, ...]
    reply: str
    judged: Judgement
    is_held_out: bool


def examples_of(log: Sequence[Interaction], feedback: Sequence[Feedback]) -> list[Example]:
    """Make an example of each conversational turn. ``log`` is in the log's order, without gaps.

    Turns that only set the memory, forgotten turns, raw prompts, turns without a reply and what was put into
    a conversation by hand make no example, nor do results of tools whose call is held out. Earlier and
    retrieved turns that are not in ``log`` are left out of the prompts.
    """
    opinions = feedback_by_position(feedback)
    held_out = {turn.answer for turn in log if is_held_out(turn.position)}
    examples: list[Example] = []
    for index, turn in enumerate(log):
        if turn.answer is None or turn.messages[0].role in (RAW_ROLE, ADDED_ROLE, *SAID_ROLES):
            continue
        prompt = tuple(with_history(_history(log[:index], turn), turn.messages, turn.instructions))
        retrieved = turn.retrieved
        judges = is_held_out(turn.position)
        if not judges:
            prompt = _after_held_out(prompt, held_out)
            retrieved = tuple(position for position in retrieved if not is_held_out(position))
        if next((message.role for message in prompt if message.role != "system"), None) == TOOL_ROLE:
            continue
        prompt = with_context(prompt, _exchanges(log[:index], opinions, retrieved, turn.created_ms))
        judgement = judged(opinions.get(turn.position, ()))
        examples.append(Example(turn.position, prompt, turn.reply, judgement, judges))
    return examples


def examples_of_lines(
    lines: Sequence[ExampleLine], validation: Sequence[ExampleLine], *, held_out_min: int
) -> list[Example]:
    """Make the examples of a file: its replies are wanted, and preferred to those that were rejected.

    All of ``validation`` is held out; without it some lines are, at least ``held_out_min``.
    """
    judging: Container[int] = ()
    if not validation:
        numbers = sorted({line.number for line in lines})
        judging = {numbers[place - 1] for place in held_out_lines(len(numbers), held_out_min)}
    taught = [_of_line(line, is_held_out=line.number in judging) for line in lines]
    return taught + [_of_line(line, is_held_out=True) for line in validation]


def digest_of(examples: Sequence[Example]) -> str:
    """Return the SHA-256 of the examples in hexadecimal; it depends on their order."""
    digest = hashlib.sha256()
    for example in examples:
        line = json.dumps(example, ensure_ascii=False, separators=(",", ":"))
        digest.update(line.encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def _of_line(line: ExampleLine, *, is_held_out: bool) -> Example:
    if line.rejected is None:
        return Example(line.number, line.prompt, line.reply, Judgement(liked=True), is_held_out)
    corrected = Judgement(correction=line.reply)
    return Example(line.number, line.prompt, line.rejected, corrected, is_held_out)


def _history(earlier: Sequence[Interaction], turn: Interaction) -> list[tuple[Message, ...]]:
    """Return the earlier turns of the conversation that the model saw for this reply, oldest first."""
    if turn.conversation is None or turn.history_turns == 0:
        return []
    same = [other for other in earlier if is_same_conversation(other.conversation, turn.conversation)]
    shown = (
        shown_later(other.messages, other.answer, other.instructions) for other in same[-turn.history_turns :]
    )
    return [tuple(Message(*pair) for pair in turn) for turn in shown]


def _exchanges(
    earlier: Sequence[Interaction],
    opinions: Mapping[int, Sequence[Feedback]],
    positions: Sequence[int],
    made_ms: int,
) -> list[Exchange]:
    """Return the earlier turns at the positions, with the feedback that they had when the reply was made."""
    exchanges: list[Exchange] = []
    for turn in earlier if positions else ():
        if turn.position in positions:
            given = [opinion for opinion in opinions.get(turn.position, ()) if opinion.created_ms <= made_ms]
            exchange = exchange_of(turn.position, turn.messages, turn.reply, judged(given))
            exchanges += [] if exchange is None else [exchange]
    return exchanges


def _after_held_out(prompt: tuple[Message, ...], held_out: Container[str]) -> tuple[Message, ...]:
    """Drop everything up to the last held-out reply, except system messages."""
    places = (
        at for at, message in enumerate(prompt) if message.role == "assistant" and message.content in held_out
    )
    last = max(places, default=-1)
    system = tuple(message for message in prompt[: last + 1] if message.role == "system")
    return system + prompt[last + 1 :]
