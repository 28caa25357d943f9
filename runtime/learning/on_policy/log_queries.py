"""Queries of a log: what its person asked, with what else in the log would have helped to answer."""

from collections.abc import Sequence

from populace.actors.errors import NothingToTrain
from populace.actors.feedback import Feedback
from populace.actors.turn import Interaction
from populace.engines.prompts import BaseTokenizer
from populace.learning.contexts import context_messages
from populace.learning.examples import Example
from populace.learning.on_policy.tasks import ContextQuery
from populace.policies.hold_out import is_held_out


def log_queries(
    name: str,
    log: Sequence[Interaction],
    feedback: Sequence[Feedback],
    examples: Sequence[Example],
    tokenizer: BaseTokenizer,
    *,
    retrieve: int,
    tokens_max: int,
) -> list[ContextQuery]:
    """Make a query of each example that is learned from: its prompt, and the turns of the log that fit it.

    What is held out is in no context, and the turn itself may be: a correction is what the teacher has at
    hand. A prompt that nothing fits, or that has no room in ``tokens_max`` with its context, is left out.
    Raises ``NothingToTrain`` if none is left.
    """
    known = [turn for turn in log if not is_held_out(turn.position)]
    queries: list[ContextQuery] = []
    for example in examples:
        asked = [one.content for one in example.prompt if one.role == "user"]
        if example.is_held_out or not asked:
            continue
        found = context_messages(known, feedback, asked[-1], retrieve)
        if not found:
            continue
        query = ContextQuery(example.prompt, found[0].content)
        if len(tokenizer.tokens_of(query.taught).ids) <= tokens_max:
            queries.append(query)
    if not queries:
        raise NothingToTrain(name, f"nothing in its log helps with any of its {len(examples)} questions")
    return queries
