import math
from typing import Any

import pytest

from populace.policies.evaluation_gate import (
    AskedReplies,
    Corrections,
    Evaluation,
    GateRule,
    GeneralReplies,
    Judged,
    RollbackRule,
    should_roll_back,
    verdict,
)

BETTER = Evaluation(
    parent=[2.0, 2.2, 1.8, 2.4],
    candidate=[1.8, 1.9, 1.7, 2.1],
    probe_kl=0.02,
    probe_base=3.0,
    probe_candidate=3.01,
)


def test_a_candidate_that_learned_and_forgot_nothing_is_promoted() -> None:
    judged = verdict(BETTER, GateRule())

    assert judged.promotes
    assert judged.gain == pytest.approx(0.225)
    assert judged.gain_error == pytest.approx(0.0479, abs=1e-4)


@pytest.mark.parametrize(
    ("evaluation", "objection"),
    [
        (BETTER._replace(candidate=[2.0, 2.3, 1.9, 2.4]), "-0.0500 ± 0.0289 nats a token lower"),
        (BETTER._replace(candidate=[1.0, 3.0, 1.0, 2.9]), "not surely more than 0"),
        (BETTER._replace(candidate=BETTER.parent), "0.0000 ± 0.0000"),
        (BETTER._replace(parent=[2.0], candidate=[1.0]), "1 held-out replies are too few"),
        (BETTER._replace(parent=[], candidate=[]), "0 held-out replies are too few"),
        (BETTER._replace(probe_kl=0.21), "0.2100 nats a token from the base, more than 0.2"),
        (BETTER._replace(probe_candidate=3.06), "0.0600 nats a token above the base's"),
        (BETTER._replace(candidate=[math.nan] * 4), "nan ± nan"),
        (BETTER._replace(probe_kl=math.nan), "nan nats a token from the base"),
        (BETTER._replace(probe_candidate=math.inf), "inf nats a token above"),
    ],
)
def test_a_candidate_that_did_not_is_rejected_by_name(evaluation: Evaluation, objection: str) -> None:
    judged = verdict(evaluation, GateRule())

    assert not judged.promotes
    assert any(objection in said for said in judged.objections), judged.objections


SAID = BETTER._replace(parent=[], candidate=[], corrections=Corrections(3, 0, (), alone=True))
WHOLE = GeneralReplies(90.0, 92.0, 0.02, 0.02, 0.65, 0.66)


def test_corrections_are_judged_by_whether_they_are_said_and_need_nothing_held_out() -> None:
    assert verdict(SAID, GateRule()).promotes
    assert verdict(SAID._replace(general=WHOLE), GateRule()).promotes
    assert verdict(BETTER._replace(corrections=Corrections(3, 1, (), alone=False)), GateRule()).promotes


@pytest.mark.parametrize(
    ("evaluation", "objection"),
    [
        (
            SAID._replace(corrections=Corrections(3, 0, ("What is my dog called?",), alone=True)),
            "it could not learn 1 of 3 corrections: “What is my dog called?”",
        ),
        (
            SAID._replace(corrections=Corrections(9, 0, tuple("abcdefg"), alone=True)),
            "7 of 9 corrections: “a”, “b”, “c” and 4 more",
        ),
        (SAID._replace(corrections=Corrections(3, 3, (), alone=True)), "says all 3 corrections already"),
        (
            SAID._replace(parent=BETTER.candidate, candidate=BETTER.parent),
            "its loss of other held-out replies is 0.2250 ± 0.0479 nats a token higher",
        ),
        (SAID._replace(general=WHOLE._replace(tokens=60.0)), "have 60 tokens, and the base's 90"),
        (SAID._replace(general=WHOLE._replace(tokens=math.nan)), "have nan tokens"),
        (SAID._replace(general=WHOLE._replace(broken=0.2)), "breaks off 20 % of general replies"),
        (SAID._replace(general=WHOLE._replace(nats=0.9)), "0.2500 nats a token less likely"),
        (SAID._replace(general=WHOLE._replace(leaked=("What is tea?",))), "with corrections: “What is tea?”"),
        (BETTER._replace(general=WHOLE._replace(broken=0.2)), "breaks off 20 % of general replies"),
    ],
)
def test_what_is_not_said_or_changes_all_other_replies_is_rejected(
    evaluation: Evaluation, objection: str
) -> None:
    judged = verdict(evaluation, GateRule())

    assert not judged.promotes
    assert any(objection in said for said in judged.objections), judged.objections


def test_a_style_may_change_how_long_general_replies_are() -> None:
    shorter = WHOLE._replace(tokens=20.0, nats=1.5)

    assert verdict(BETTER._replace(general=shorter), GateRule()).promotes


REWARDED = BETTER._replace(parent=[0.0, 0.25, 0.5, 0.0], candidate=[0.5, 0.5, 1.0, 0.5], measure="reward")


def test_a_candidate_that_is_rewarded_more_is_promoted_and_one_that_is_not_is_rejected() -> None:
    judged = verdict(REWARDED, GateRule())
    turned = verdict(REWARDED._replace(parent=REWARDED.candidate, candidate=REWARDED.parent), GateRule())
    unjudged = verdict(REWARDED._replace(parent=[], candidate=[]), GateRule())

    assert judged.promotes
    assert judged.gain == pytest.approx(0.4375)
    assert turned.objections == (
        "its held-out reward is -0.4375 ± 0.0625 higher than its parent's, not surely more than 0",
    )
    assert unjudged.objections == ("0 held-out tasks are too few to judge it, 2 are needed",)


def test_all_that_speaks_against_a_candidate_is_said() -> None:
    bad = BETTER._replace(candidate=[3.0] * 4, probe_kl=1.0, probe_candidate=4.0)

    assert len(verdict(bad, GateRule()).objections) == 3


@pytest.mark.parametrize(
    ("parent", "revision", "rolled_back"),
    [
        (Judged(18, 2), Judged(1, 4), True),
        (Judged(18, 2), Judged(0, 4), False),  # too few to say
        (Judged(18, 2), Judged(5, 0), False),
        (Judged(18, 2), Judged(4, 1), False),
        (Judged(0, 0), Judged(0, 5), True),
        (Judged(0, 0), Judged(1, 4), False),
        (Judged(2, 18), Judged(1, 9), False),  # it is no worse than what it replaced
    ],
)
def test_a_revision_is_taken_back_when_feedback_turns_against_it(
    parent: Judged, revision: Judged, rolled_back: bool
) -> None:
    assert should_roll_back(parent, revision, RollbackRule()) is rolled_back


ASKED = SAID._replace(
    corrections=Corrections(0, 0, (), alone=True),
    asked_again=AskedReplies(3, 1, (), held_out=2, held_out_loss_parent=2.0, held_out_loss=1.5),
)


def test_replies_to_what_was_asked_again_are_judged_like_corrections() -> None:
    assert verdict(ASKED, GateRule()).promotes
    assert verdict(ASKED._replace(corrections=Corrections(2, 2, (), alone=True)), GateRule()).promotes


@pytest.mark.parametrize(
    ("change", "objection"),
    [
        ({"unsaid": ("Who is Rex?",)}, "1 of 3 replies to what was asked again: “Who is Rex?”"),
        ({"held_out_loss": 2.25}, "asked in 2 wordings that it did not learn, its loss is 0.2500"),
        ({"held_out_loss": math.nan}, "its loss is nan"),
        ({"said_by_parent": 3}, "its parent says all 0 corrections already"),
    ],
)
def test_a_candidate_that_does_not_answer_what_was_asked_again_is_rejected(
    change: dict[str, Any], objection: str
) -> None:
    asked = ASKED.asked_again
    assert asked is not None

    judged = verdict(ASKED._replace(asked_again=asked._replace(**change)), GateRule())

    assert any(objection in said for said in judged.objections), judged.objections
