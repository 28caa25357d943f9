import pytest

from populace.policies.consolidation import ConsolidationRule, Standing, consolidation, training_order

RULE = ConsolidationRule(
    interactions_min=10,
    judged_min=3,
    held_out_min=2,
    interactions_late=100,
    idle_seconds_min=60,
    tokens_max=1000,
    asked_again_min=4,
)
READY = Standing(position=40, untrained=10, judged=1, held_out=2, idle_seconds=60, tokens_spent=0)


@pytest.mark.parametrize(
    "standing",
    [
        READY,
        READY._replace(untrained=3, judged=3),
        READY._replace(untrained=100, idle_seconds=0.0),
        READY._replace(failed_at=30),
        READY._replace(tokens_spent=999),
        READY._replace(held_out=0, corrected=1),
        READY._replace(judged=0, held_out=0, asked_again=4),
        READY._replace(untrained=3, asked_again=4),
    ],
    ids=[
        "enough",
        "judged",
        "late",
        "heard more since it failed",
        "within its budget",
        "corrected",
        "asked again without feedback",
        "asked again beside some feedback",
    ],
)
def test_a_model_is_trained_when_it_has_heard_enough_and_nobody_talks(standing: Standing) -> None:
    assert consolidation(standing, RULE).due


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        (READY._replace(untrained=9), "9 new interactions of 10, 1 with feedback of 3"),
        (READY._replace(judged=0), "nobody said"),
        (READY._replace(judged=0, asked_again=3), "3 things were asked for again of 4"),
        (READY._replace(judged=0, asked_again=4, idle_seconds=59.0), "it talked 59 s ago"),
        (READY._replace(judged=0, asked_again=4, tokens_spent=1000), "its budget of 1000 tokens is spent"),
        (READY._replace(judged=0, asked_again=4, failed_at=31), "9 interactions since a candidate"),
        (READY._replace(held_out=1), "1 held-out replies with feedback to judge it by, of 2"),
        (READY._replace(idle_seconds=59.0), "it talked 59 s ago"),
        (READY._replace(tokens_spent=1000), "its budget of 1000 tokens is spent"),
        (READY._replace(untrained=500, tokens_spent=1000), "its budget of 1000 tokens is spent"),
        (READY._replace(failed_at=31), "9 interactions since a candidate that was not taken"),
    ],
)
def test_a_model_that_is_not_trained_is_told_why(standing: Standing, reason: str) -> None:
    decision = consolidation(standing, RULE)

    assert not decision.due
    assert reason in decision.reason


def test_only_what_time_alone_makes_due_waits() -> None:
    asked = READY._replace(judged=0, asked_again=4)

    assert consolidation(asked._replace(idle_seconds=0.0), RULE).waits
    assert consolidation(asked._replace(tokens_spent=1000), RULE).waits
    for standing in (asked._replace(asked_again=3), asked._replace(failed_at=31), READY._replace(held_out=1)):
        assert not consolidation(standing, RULE).waits


def test_who_has_heard_most_is_trained_first() -> None:
    waiting = {
        "ada": READY,
        "bob": READY._replace(untrained=50),
        "cyd": READY._replace(idle_seconds=600.0),
        "dan": READY,
    }

    assert training_order(waiting) == ["bob", "cyd", "ada", "dan"]
