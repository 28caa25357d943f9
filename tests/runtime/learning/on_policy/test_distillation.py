"""A student learns from a teacher with a context, which it never reads itself."""

import pytest

from populace.actors.engine import Message
from populace.actors.errors import PromptTooLong
from populace.engines.prompts import BaseTokenizer
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.distillation import DistillationMethod, DistillationOptions, Teacher
from populace.learning.on_policy.rounds import RolloutCurriculum, RoundOptions
from populace.learning.on_policy.sampler import Sampler
from populace.learning.on_policy.tasks import ContextQuery
from tests.runtime.learning.on_policy.learners import Counting, learn, session

pytestmark = pytest.mark.engine

CONTEXT = "zebra quartz zebra quartz zebra quartz"
QUERIES = [ContextQuery((Message("user", f"Is it {number}?"),), CONTEXT) for number in range(2)]
ROUND = RoundOptions(replies=6, tokens_max=4)


def method(base: FrozenBase, tokenizer: BaseTokenizer, options: DistillationOptions) -> DistillationMethod:
    return DistillationMethod(QUERIES, base, tokenizer, None, options, tokens_max=ROUND.tokens_max)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("teacher", ["parent", "student"])
def test_nothing_that_the_student_reads_is_of_the_context(
    base: FrozenBase, tokenizer: BaseTokenizer, sampler: Sampler, exact: bool, teacher: Teacher
) -> None:
    counting = Counting(sampler)
    options = DistillationOptions(exact=exact, teacher=teacher)
    curriculum = RolloutCurriculum(method(base, tokenizer, options), counting, base, ROUND)

    objective = curriculum.objective(session(base), 2)

    assert sorted(counting.asked) == sorted(query.prompt for query in QUERIES)
    prompts = [tuple(tokenizer.tokens_of(query.prompt).ids) for query in QUERIES]
    for one in objective.sequences:
        reply = one.scored[0]
        assert one.ids[:reply] in prompts, "what stands before the reply is the query alone"
        assert one.scored == tuple(range(reply, len(one.ids)))
    taught = {token for query in QUERIES for token in tokenizer.tokens_of(query.taught).ids}
    of_context = taught - {token for prompt in prompts for token in prompt}
    assert of_context
    assert of_context.isdisjoint(token for one in objective.sequences for token in one.ids[: one.scored[0]])


@pytest.mark.parametrize("exact", [pytest.param(False, marks=pytest.mark.release("learning")), True])
def test_the_student_comes_nearer_to_what_the_teacher_says(
    base: FrozenBase, tokenizer: BaseTokenizer, sampler: Sampler, exact: bool
) -> None:
    made = method(base, tokenizer, DistillationOptions(exact=exact))
    learner = session(base, steps=20, rate=1e-2)

    reports = learn(base, learner, RolloutCurriculum(made, sampler, base, ROUND), 20, batch=2)

    distances = [report.metrics["reverse_kl"] for report in reports]
    assert sum(distances[-4:]) < 0.7 * sum(distances[:4]), distances


def test_a_context_that_leaves_no_room_for_a_reply_is_refused(
    base: FrozenBase, tokenizer: BaseTokenizer
) -> None:
    long = [ContextQuery((Message("user", "Who?"),), "zebra " * base.context_tokens)]

    with pytest.raises(PromptTooLong):
        DistillationMethod(long, base, tokenizer, None, DistillationOptions(), tokens_max=4)
