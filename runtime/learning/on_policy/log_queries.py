"""Makes distillation queries of a log: each question of its person, with the other turns that match it."""

from collections.abc import Sequence

from populace.actors.errors import NothingToTrain
from populace.actors.feedback import Feedback
from populace.actors.turn import Interaction
from populace.engines.prompts import BaseTokenizer
from populace.learning.contexts import context_for
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
    """Make a query of each training example: its prompt, and up to ``retrieve`` matching turns as context.

    No context has held-out turns. It may have the example's own turn, as a correction of its reply is what
    the teacher should know. A prompt without a match, or longer than ``tokens_max`` with its context, makes
    no query. Raises ``NothingToTrain`` if there is no query.
    """
    known = [turn for turn in log if not is_held_out(turn.position)]
    queries: list[ContextQuery] = []
    for example in examples:
        asked = [message.content for message in example.prompt if message.role == "user"]
        if example.is_held_out or not asked:
            continue
        context = context_for(known, feedback, asked[-1], retrieve)
        if not context:
            continue
        query = ContextQuery(example.prompt, context)
        if len(tokenizer.tokens_of(query.taught).ids) <= tokens_max:
            queries.append(query)
    if not queries:
        raise NothingToTrain(name, f"no turn of its log matches any of its {len(examples)} questions")
    return queries
