"""A candidate that replies worse as it is served is rejected in words, whatever its loss is."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from populace.policies.evaluation_gate import GateRule, verdict
from populace.policies.quoted_words import without_words
from populace.policies.served_gate import Known, Learned, Served, ServedReplies, ServedRule, served_objections
from tests.policies.test_evaluation_gate import BETTER, SAID

GOOD = ServedReplies(
    tokens_wanted=20.0,
    tokens_parent=30.0,
    tokens=22.0,
    broken_parent=1,
    broken=1,
    empty_parent=0,
    empty=0,
    like_parent=[0.4, 0.5, 0.3, 0.6],
    like=[0.5, 0.6, 0.4, 0.5],
)


def test_what_is_said_as_it_is_served_objects_to_nothing() -> None:
    served = Served(20, ("Who?",), Learned([0.2, 0.3], [0.3, 0.3]), GOOD)

    assert verdict(BETTER._replace(served=served), GateRule()).promotes
    assert verdict(SAID._replace(served=Served(3)), GateRule()).promotes
    assert verdict(SAID._replace(served=Served(known=Known(4, 3, ("Who?",)))), GateRule()).promotes
    assert verdict(SAID._replace(served=Served(known=Known(7, 1, ("Who?",) * 4))), GateRule()).promotes
    assert served_objections(Served(), ServedRule()) == []


@pytest.mark.parametrize(
    ("served", "objection"),
    [
        (
            Served(13, tuple(f"{n}?" for n in range(13))),
            "with its memory, it says 0 of 13 corrections, and not “0?”, “1?”, “2?” and 10 more",
        ),
        (Served(1, ("Who?",)), "it says 0 of 1 corrections, and not “Who?”"),
        (Served(4, ("Who?",)), "it says 3 of 4 corrections, and not “Who?”"),
        (
            Served(known=Known(4, 2, ("Who?", "Where?"))),
            "it knows 2 of 4 things that were asked again, its parent 2, and not “Who?” and “Where?”",
        ),
        (Served(known=Known(4, 4, ("Who?",))), "it knows 3 of 4 things that were asked again, its parent 4"),
        (
            Served(learned=Learned([0.3, 0.3], [0.3, 0.3])),
            "no more like the 2 corrections that it learned than its parent's: 0.30, and 0.30 before",
        ),
        (Served(held_out=GOOD._replace(empty=1)), "1 of 4 held-out replies are empty, and of its parent's 0"),
        (Served(held_out=GOOD._replace(broken=3)), "it breaks off 3 of 4 held-out replies, and its parent 1"),
        (
            Served(held_out=GOOD._replace(tokens=50.0)),
            "replies have 50 tokens, where 20 were wanted and its parent's have 30",
        ),
        (Served(held_out=GOOD._replace(tokens=4.0)), "replies have 4 tokens, where 20 were wanted"),
        (
            Served(held_out=GOOD._replace(like=[0.1, 0.2, 0.2, 0.1])),
            "are 0.30 ± 0.08 less like the wanted ones",
        ),
    ],
)
def test_what_is_served_worse_is_said(served: Served, objection: str) -> None:
    judged = verdict(BETTER._replace(served=served), GateRule())

    [said] = judged.objections
    assert said.startswith("as it is served")
    assert objection in said


@pytest.mark.parametrize(
    "held_out",
    [
        # One more may be chance, and who is as far off as the parent has lost nothing.
        GOOD._replace(broken=2),
        GOOD._replace(tokens=50.0, tokens_parent=60.0),
        GOOD._replace(tokens=0.0, tokens_parent=0.0),
        GOOD._replace(empty=2, empty_parent=2),
        GOOD._replace(like=[0.4, 0.5, 0.3, 0.5]),
        GOOD._replace(like=[0.1], like_parent=[0.9]),
        GOOD._replace(like=[0.3, 0.4, 0.2, 0.6], like_parent=[0.4, 0.5, 0.3, 0.6]),
    ],
)
def test_little_differences_object_to_nothing(held_out: ServedReplies) -> None:
    assert served_objections(Served(held_out=held_out), ServedRule()) == []


@given(st.integers(0, 40), st.data())
def test_a_candidate_that_says_19_of_20_corrections_passes_and_no_other(
    count: int, data: st.DataObject
) -> None:
    unsaid = data.draw(st.integers(0, count))
    objections = served_objections(Served(count, ("Who?",) * unsaid), ServedRule())

    assert bool(objections) == (count - unsaid < math.ceil(0.95 * count - 1e-9))


def test_without_words_nothing_of_the_questions_is_left() -> None:
    [objection] = served_objections(Served(1, ("Where is the key?",)), ServedRule())

    assert "key" in objection
    assert "key" not in without_words(objection)
