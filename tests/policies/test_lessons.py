import pytest

from populace.policies.lessons import Judgement, Said, judgement, preferred_pair, wanted_reply


@pytest.mark.parametrize(
    ("opinions", "comes_to"),
    [
        ([], Judgement()),
        ([Said(thumb=True)], Judgement(liked=True)),
        ([Said(thumb=True), Said(thumb=False)], Judgement(liked=False)),
        ([Said(rating=0.9)], Judgement(liked=True)),
        ([Said(rating=0.1)], Judgement(liked=False)),
        ([Said(thumb=True), Said(rating=0.5)], Judgement(liked=None)),
        ([Said(thumb=False, rating=0.9)], Judgement(liked=False)),
        (
            [Said(correction="one", reward=1.0), Said(thumb=False), Said(correction="two")],
            Judgement(liked=False, correction="two", reward=1.0),
        ),
        ([Said(reward=1.0), Said(reward=-1.0)], Judgement(reward=-1.0)),
    ],
)
def test_of_each_kind_of_opinion_the_newest_counts(opinions: list[Said], comes_to: Judgement) -> None:
    assert judgement(opinions) == comes_to


@pytest.mark.parametrize(
    ("judged", "wanted", "unjudged"),
    [
        (Judgement(), None, "reply"),
        (Judgement(liked=True), "reply", "reply"),
        (Judgement(liked=False), None, None),
        (Judgement(liked=False, correction="better"), "better", "better"),
        (Judgement(liked=True, correction="better"), "better", "better"),
        (Judgement(reward=5.0), None, "reply"),
    ],
)
def test_a_reply_teaches_what_its_person_wanted(
    judged: Judgement, wanted: str | None, unjudged: str | None
) -> None:
    assert wanted_reply("reply", judged) == wanted
    assert wanted_reply("reply", judged, unjudged=True) == unjudged


def test_an_empty_reply_teaches_nothing() -> None:
    assert wanted_reply("", Judgement(liked=True)) is None
    assert preferred_pair("", Judgement(correction="better")) is None


def test_a_correction_is_preferred_to_what_it_corrects() -> None:
    assert preferred_pair("reply", Judgement(correction="better")) == ("better", "reply")
    assert preferred_pair("reply", Judgement(correction="reply")) is None
    assert preferred_pair("reply", Judgement(liked=True)) is None
