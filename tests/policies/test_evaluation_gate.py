import math
from statistics import fmean
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.evaluation_gate import (
    AskedReplies,
    Corrections,
    Evaluation,
    GateRule,
    GeneralReplies,
    Judged,
    OnLower,
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


ONE_FELL = BETTER._replace(parent=[2.0] * 9, candidate=[1.0, 1.0, 1.0, 1.0, *[2.02] * 5])


def test_a_few_replies_whose_loss_fell_a_lot_do_not_promote_a_candidate() -> None:
    judged = verdict(ONE_FELL, GateRule())

    assert judged.gain - judged.gain_error > 0.2, "the mean alone would promote it"
    assert judged.gain_median == pytest.approx(-0.02)
    [objection] = judged.objections
    assert objection == (
        "its held-out loss is 0.4333 nats a token lower than its parent's in the mean, but -0.0200 in the "
        "median: of 9 replies 5 are no likelier, and a few make up for them"
    )


def test_a_median_that_falls_beside_the_mean_objects_to_nothing_and_rewards_have_none() -> None:
    most_fell = ONE_FELL._replace(candidate=[1.0, 1.0, 1.0, 1.0, 1.9, *[2.02] * 4])
    half_solved = REWARDED._replace(parent=[0.0] * 9, candidate=[1.0] * 4 + [0.0] * 5)

    assert verdict(most_fell, GateRule()).promotes
    assert verdict(half_solved, GateRule()).promotes
    assert verdict(ONE_FELL._replace(corrections=Corrections(3, 0, (), alone=False)), GateRule()).promotes


@given(st.lists(st.floats(0.0, 10.0), min_size=2, max_size=40), st.data())
def test_what_is_promoted_by_its_loss_has_a_mean_and_a_median_that_fell(
    parent: list[float], data: st.DataObject
) -> None:
    candidate = [data.draw(st.floats(0.0, 10.0)) for _ in parent]
    judged = verdict(BETTER._replace(parent=parent, candidate=candidate), GateRule())

    fell = [before - after for before, after in zip(parent, candidate, strict=True)]
    if judged.promotes:
        assert fmean(fell) > 0.0
        assert sum(fall > 0.0 for fall in fell) * 2 >= len(fell)
        assert judged.gain_median > 0.0


def test_a_personal_part_is_better_than_the_lower_revision_alone_or_is_rejected() -> None:
    on = OnLower(0.5, [1.9, 2.0, 1.8, 2.2])
    alone = OnLower(0.0, [1.7, 1.8, 1.6, 2.0])

    assert verdict(BETTER._replace(on=on), GateRule()).promotes
    [objection] = verdict(BETTER._replace(on=alone), GateRule()).objections
    assert objection.startswith("its own part is not surely better than the lower revision alone")
    assert "loss is -0.1000 ± 0.0000 nats a token lower" in objection
    equal = BETTER._replace(on=OnLower(0.0, BETTER.candidate))
    assert not verdict(equal, GateRule()).promotes, "nothing of its own is worth nothing"
    rewarded = BETTER._replace(measure="reward", parent=BETTER.candidate, candidate=BETTER.parent)
    assert verdict(rewarded._replace(on=OnLower(1.0, BETTER.candidate)), GateRule()).promotes
    [objection] = verdict(rewarded._replace(on=OnLower(0.0, [3.0] * 4)), GateRule()).objections
    assert "reward is -0.9000" in objection


def test_what_corrections_need_may_be_a_little_worse_than_the_lower_revision() -> None:
    said = BETTER._replace(corrections=Corrections(3, 0, (), alone=False))
    noisy, sure = [1.7, 1.8, 2.0, 1.9], [1.7, 1.8, 1.6, 2.0]

    assert verdict(said._replace(on=OnLower(0.25, noisy)), GateRule()).promotes
    assert not verdict(said._replace(on=OnLower(0.25, sure)), GateRule()).promotes
    assert not verdict(said._replace(on=OnLower(0.0, noisy)), GateRule()).promotes
    assert verdict(SAID._replace(on=OnLower(1.0, ())), GateRule()).promotes, "nothing is held out"


def test_general_replies_on_a_lower_revision_are_held_against_its_own() -> None:
    longer = WHOLE._replace(tokens=200.0, broken=0.9, nats=2.0, beside="lower revision")

    said = " ".join(verdict(SAID._replace(general=longer), GateRule()).objections)

    assert "and the lower revision 2 %" in said
    assert "and the lower revision's 90" in said
    assert "less likely under the lower revision than the lower revision's own" in said


SAID = BETTER._replace(parent=[], candidate=[], corrections=Corrections(3, 0, (), alone=True))
WHOLE = GeneralReplies(90.0, 92.0, 0.02, 0.02, 0.65, 0.66)


def test_corrections_are_judged_by_whether_they_are_said_and_need_nothing_held_out() -> None:
    assert verdict(SAID, GateRule()).promotes
    assert verdict(SAID._replace(general=WHOLE), GateRule()).promotes
    assert verdict(BETTER._replace(corrections=Corrections(3, 1, (), alone=False)), GateRule()).promotes


def test_what_was_liked_beside_corrections_that_are_said_already_is_judged_by_its_loss() -> None:
    said = Corrections(3, 3, (), alone=False)

    assert verdict(BETTER._replace(corrections=said), GateRule()).promotes
    [worse] = verdict(
        BETTER._replace(parent=BETTER.candidate, candidate=BETTER.parent, corrections=said), GateRule()
    ).objections
    assert "not surely more than 0" in worse
    [few] = verdict(SAID._replace(corrections=said), GateRule()).objections
    assert few.startswith("0 held-out replies are too few")


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
        (
            BETTER._replace(general=WHOLE._replace(private=2)),
            "2 words in general replies that one person alone",
        ),
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
