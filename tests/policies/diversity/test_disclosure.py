"""What is told of a member is what it shares, or what is nobody's in particular."""

from populace.policies.diversity.disclosure import DisclosureRule, Sharing, tellable

RULE = DisclosureRule()
VOTES: list[Sharing] = ["votes"] * 4


def test_choices_that_were_given_say_nothing_of_anybody() -> None:
    assert tellable(["A", "B", None, "B"], VOTES, is_open=False, rule=RULE) == {"A", "B"}


def test_own_answers_are_told_from_so_many_on_or_of_who_shares_texts() -> None:
    assert tellable(["7", "8", "8", None], VOTES, is_open=True, rule=RULE) == {"8"}
    sharing: list[Sharing] = ["texts", "votes", "votes", "votes"]
    assert tellable(["7", "8", "9", "9"], sharing, is_open=True, rule=RULE) == {"7", "9"}
    assert tellable(["9", "9"], VOTES[:2], is_open=True, rule=DisclosureRule(same_min=3)) == set()
