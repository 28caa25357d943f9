"""Votes become an answer that says how it came about, and tells of nobody what they do not share."""

import math

import pytest

from populace.actors.aggregation.ballot import Member, Vote, VoteState
from populace.actors.aggregation.ensemble import PopulationAnswer, combined, measures_of
from populace.actors.aggregation.question import Question
from populace.actors.engine import AdapterRef, Message
from populace.policies.diversity.disclosure import DisclosureRule, Sharing

ASKED = (Message("user", "Which one?"),)
CHOICE = Question(ASKED, kind="choice", choices=("red", "green", "blue"))
WORDS = Question(ASKED, kind="words")
TEXT = Question(ASKED)
RULE = DisclosureRule(voted_min=3, same_min=2)


def answer(
    question: Question,
    *said: str | None,
    sharing: dict[int, Sharing] | None = None,
    accuracy: tuple[float | None, ...] = (),
    states: dict[int, VoteState] | None = None,
) -> PopulationAnswer:
    """Combine votes of so many members; None is an abstention."""
    members = [
        Member(
            f"member-{place}",
            AdapterRef(f"digest-{place}", "") if place else None,
            (sharing or {}).get(place, "votes"),
            accuracy[place] if accuracy else None,
        )
        for place in range(len(said))
    ]
    votes = [
        Vote(place, (states or {}).get(place, "abstained" if one is None else "voted"), one)
        for place, one in enumerate(said)
    ]
    return combined(question, members, votes[::-1], RULE)


def test_the_majority_of_choices_is_told_with_every_members_vote() -> None:
    found = answer(CHOICE, "B", "A", "B", None)

    assert (found.answer, found.reason, found.is_tie) == ("green", "", False)
    assert found.shares == {"green": pytest.approx(2 / 3), "red": pytest.approx(1 / 3)}
    assert [(one.model, one.revision, one.answer) for one in found.votes] == [
        ("member-0", "base", "green"),
        ("member-1", "digest-1", "red"),
        ("member-2", "digest-2", "green"),
        ("member-3", "digest-3", None),
    ]
    assert (found.measures.voted, found.measures.agreement) == (3, pytest.approx(2 / 3))


def test_a_tie_goes_to_who_was_chosen_first_and_is_said() -> None:
    found = answer(CHOICE, "C", "A", "A", "C")

    assert (found.answer, found.is_tie) == ("blue", True)


def test_everybody_may_abstain() -> None:
    found = answer(CHOICE, None, None, None)

    assert (found.answer, found.reason, found.shares) == (None, "everybody abstained", {})
    assert found.measures == (0, 0.0, 0.0, 0.0)


def test_where_nobody_voted_it_is_said_what_became_of_all() -> None:
    found = answer(CHOICE, None, None, None, states={0: "late", 1: "late", 2: "failed"})

    assert (found.answer, found.reason) == (None, "nobody has voted: 2 late, 1 failed")


def test_weights_are_the_log_odds_of_members_on_the_probes() -> None:
    weighted = Question(ASKED, kind="choice", choices=("red", "green", "blue"), combine="weighted")

    found = answer(weighted, "A", "B", "B", accuracy=(0.9, 0.4, 0.4))

    assert found.answer == "red", "one that is mostly right outvotes two near chance"
    assert found.votes[0].weight == pytest.approx(math.log(0.9 * 2 / 0.1))
    assert answer(CHOICE, "A", "B", "B", accuracy=(0.9, 0.4, 0.4)).answer == "green"
    unknown = answer(weighted, "A", "B", "B", accuracy=(None, None, None))
    assert unknown.answer == "green", "whom nobody knows is at chance, and all count alike then"


def test_of_too_few_nothing_is_told() -> None:
    found = answer(CHOICE, "A", "A", None, None)

    assert (found.answer, "2 answered" in found.reason) == (None, True)
    assert [one.answer for one in found.votes] == [None] * 4
    assert found.shares == {None: 1.0}
    assert found.measures == (2, 0.0, 0.0, 0.0), "nor whether they said the same"
    assert not answer(CHOICE, "A", "B", None, None).is_tie


def test_own_words_are_told_if_several_said_them_or_their_member_shares_texts() -> None:
    found = answer(WORDS, "blue", "my secret", "blue", "green", sharing={3: "texts"})

    assert found.answer == "blue"
    assert [one.answer for one in found.votes] == ["blue", None, "blue", "green"]
    assert found.shares == {"blue": 0.5, "green": 0.25, None: 0.25}


def test_a_winner_that_is_one_members_own_words_is_withheld() -> None:
    found = answer(WORDS, "my secret", "a", "b")

    assert found.answer is None
    assert "does not share" in found.reason
    assert "my secret" not in repr(found)


def test_text_is_chosen_among_those_who_share_it_by_all() -> None:
    said = ("the sky is blue today", "the sky is blue", "the sky is grey", "bananas")

    found = answer(TEXT, *said, sharing={2: "texts", 3: "texts"})

    assert found.answer == "the sky is grey", "most like all, of those that may be told"
    assert "the sky is blue today" not in repr(found)
    withheld = answer(TEXT, *said)
    assert (withheld.answer, "does not share" in withheld.reason) == (None, True)
    assert not any(text in repr(withheld) for text in said)


def test_what_a_member_that_is_gone_said_does_not_count() -> None:
    found = answer(CHOICE, "A", "A", "B", "B", "B", states={4: "gone"})

    assert (found.answer, found.is_tie) == ("red", True)
    assert (found.votes[4].state, found.votes[4].answer) == ("gone", None)


@pytest.mark.parametrize(
    ("answers", "agreement", "disagreement", "entropy"),
    [
        (["a", "a", "a"], 1.0, 0.0, 0.0),
        (["a", "b"], 0.5, 1.0, math.log(2)),
        (["a", "a", "b", None], 2 / 3, 2 / 3, -(2 / 3 * math.log(2 / 3) + math.log(1 / 3) / 3)),
        (["a"], 1.0, 0.0, 0.0),
    ],
)
def test_measures_say_how_the_votes_lie(
    answers: list[str | None], agreement: float, disagreement: float, entropy: float
) -> None:
    found = measures_of(answers, "a")

    assert found.agreement == pytest.approx(agreement)
    assert found.disagreement == pytest.approx(disagreement)
    assert found.entropy == pytest.approx(entropy)
