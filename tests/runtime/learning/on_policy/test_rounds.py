"""A round is of one revision, and what it draws follows from the session's seed and step."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from populace.actors.engine import Message
from populace.actors.errors import RolloutsStale, TrainingFailed
from populace.engines.prompts import BaseTokenizer
from populace.learning.frozen_base import FrozenBase
from populace.learning.on_policy.distillation import DistillationMethod, DistillationOptions
from populace.learning.on_policy.rounds import RolloutCurriculum, RoundOptions
from populace.learning.on_policy.sampler import Sampler
from populace.learning.on_policy.tasks import ContextQuery
from populace.learning.session_file import pack_session, unpack_session
from tests.runtime.learning.on_policy.learners import Behind, Counting, Gone, Remembering, learn, session

pytestmark = pytest.mark.engine

QUERIES = [ContextQuery((Message("user", f"Is it {number}?"),), "It is 7.") for number in range(6)]
ROUND = RoundOptions(replies=3, tokens_max=4, steps=2)

MakeCurriculum = Callable[[Sampler], RolloutCurriculum]


@pytest.fixture
def curriculum(base: FrozenBase, tokenizer: BaseTokenizer) -> MakeCurriculum:
    method = DistillationMethod(
        QUERIES, base, tokenizer, None, DistillationOptions(exact=False), tokens_max=ROUND.tokens_max
    )
    return lambda sampler: RolloutCurriculum(method, sampler, base, ROUND)


def test_a_reply_of_another_revision_is_masked_and_counted(
    base: FrozenBase, curriculum: MakeCurriculum, sampler: Sampler
) -> None:
    learner, rounds = session(base), curriculum(Behind(sampler, stale=1))
    first = learn(base, learner, rounds, 2, batch=2)

    objective = rounds.objective(learner, 2)
    later = learn(base, learner, rounds, 2, batch=2)

    assert [one.metrics["masked"] for one in first] == [0, 0], "the first revision is the one that learns"
    assert [one.metrics["masked"] for one in later] == [2, 2]
    assert len(objective.sequences) == ROUND.replies - 1


def test_if_every_reply_is_of_another_revision_that_is_said_by_name(
    base: FrozenBase, curriculum: MakeCurriculum, sampler: Sampler
) -> None:
    learner, rounds = session(base), curriculum(Behind(sampler, stale=ROUND.replies))
    learn(base, learner, rounds, 2, batch=2)

    with pytest.raises(RolloutsStale, match="all 6 replies are of other revisions") as caught:
        rounds.objective(learner, 2)

    assert caught.value.model == "ada"


def test_an_engine_that_is_gone_fails_the_training_by_name(
    base: FrozenBase, curriculum: MakeCurriculum, sampler: Sampler
) -> None:
    with pytest.raises(TrainingFailed, match=r"could not be sampled: .* its process died"):
        curriculum(Gone(sampler)).objective(session(base), 2)


def test_the_same_seed_learns_to_the_same_bits_and_another_does_not(
    base: FrozenBase, curriculum: MakeCurriculum, sampler: Sampler
) -> None:
    packed: list[bytes] = []
    remembering = Remembering(sampler)
    for seed in (3, 3, 4):
        learner = session(base, seed=seed)
        learn(base, learner, curriculum(remembering), 4, batch=2)
        packed.append(bytes(learner.adapter.pack(base.fingerprint, base.dtype)))

    assert packed[0] == packed[1]
    assert packed[0] != packed[2]
    assert remembering.calls == 4, "the same was asked for twice"


def test_a_session_that_is_kept_between_rounds_goes_on_to_the_same_bits(
    base: FrozenBase, curriculum: MakeCurriculum, sampler: Sampler
) -> None:
    remembering = Remembering(sampler)
    whole = session(base)
    learn(base, whole, curriculum(remembering), 4, batch=2)
    cut = session(base)
    learn(base, cut, curriculum(remembering), 2, batch=2)

    resumed, _ = unpack_session(pack_session(cut, {}))
    learn(base, resumed, curriculum(remembering), 2, batch=2)

    assert resumed.adapter.pack(base.fingerprint, base.dtype) == whole.adapter.pack(
        base.fingerprint, base.dtype
    )


def test_every_prompt_is_asked_before_one_is_asked_again(
    base: FrozenBase, curriculum: MakeCurriculum, sampler: Sampler
) -> None:
    counting = Counting(sampler)

    learn(base, session(base), curriculum(counting), 6, batch=2)

    assert counting.calls == 3
    assert sorted(counting.asked) == sorted(query.prompt for query in QUERIES)


def test_a_round_of_fewer_groups_than_steps_has_a_step_for_each(
    base: FrozenBase, tokenizer: BaseTokenizer, sampler: Sampler
) -> None:
    method = DistillationMethod(QUERIES, base, tokenizer, None, DistillationOptions(), tokens_max=4)
    counting = Counting(sampler)

    learn(base, session(base), RolloutCurriculum(method, counting, base, replace(ROUND, steps=4)), 4, batch=2)

    assert counting.calls == 2
