"""What three invented people told and corrected answers their questions for it, and no others.

``tests/held_out/mix_ups.jsonl`` was written without looking at the rules that are tested here. What is
counted is which turn or correction is taken for a question; whether a base reads its answer there is another
matter.
"""

import json
from pathlib import Path
from typing import Any

from populace.policies.corrections import Corrected, CorrectionFinder
from populace.policies.retrieval import Exchange
from populace.policies.tellings import telling_for

PEOPLE: list[dict[str, Any]] = [
    json.loads(line)
    for line in (Path(__file__).parent.parent / "held_out" / "mix_ups.jsonl").read_text("utf-8").splitlines()
]


def told(said: list[str], question: str) -> str | None:
    """Return what was said in the turn that is taken for the question."""
    found = telling_for(question, [Exchange(at, text, "", b"%d" % at) for at, text in enumerate(said)])
    return None if found is None else found.said


def finder(person: dict[str, Any]) -> CorrectionFinder:
    corrected = person["corrected"]
    return CorrectionFinder(
        [Corrected(at, one["ask"], one["correction"]) for at, one in enumerate(corrected)]
    )


def test_what_asks_for_something_else_is_told_nothing() -> None:
    asked = [(one, question) for one in PEOPLE for question in (*one["other"], *one["corrected_other"])]
    taken = [question for one, question in asked if told(one["tell"], question) is not None]

    assert len(asked) == 360
    assert len(taken) <= 5, taken


def test_what_is_asked_of_a_conversation_is_not_told_from_elsewhere() -> None:
    asked = [(one, about["ask"]) for one in PEOPLE for about in one["conversations"]]

    assert [question for one, question in asked if told(one["tell"], question) is not None] == []


def test_what_was_not_meant_tells_nothing() -> None:
    asked = [(one, unsaid) for one in PEOPLE for unsaid in one["unsaid"]]
    taken = [
        unsaid["say"]
        for one, unsaid in asked
        if told([*one["tell"], unsaid["say"]], unsaid["ask"]) == unsaid["say"]
    ]

    assert len(asked) == 36
    assert taken == []


def test_what_was_told_is_found_where_it_is() -> None:
    asked = [(one, question) for one in PEOPLE for question in one["asked"]]
    found = [(told(one["tell"], question["ask"]), question) for one, question in asked]
    right = [said for said, question in found if said and any(value in said for value in question["value"])]

    assert len(right) >= 12
    assert len([said for said, _ in found if said]) - len(right) <= 2


def test_a_correction_is_found_for_its_question() -> None:
    for one in PEOPLE:
        found = finder(one)
        assert [found.applying(corrected["ask"]) for corrected in one["corrected"]] == list(range(12))

    others = [
        (finder(one), at // 2, asked["ask"])
        for one in PEOPLE
        for at, asked in enumerate(one["corrected_asked"])
    ]
    found_for = [(found.applying(question), at) for found, at, question in others]
    assert sum(position == at for position, at in found_for) >= 21
    assert all(position in (None, at) for position, at in found_for)


def test_a_correction_is_not_taken_for_another_question() -> None:
    asked = [
        (finder(one), question) for one in PEOPLE for question in (*one["corrected_other"], *one["other"])
    ]
    taken = [question for found, question in asked if found.applying(question) is not None]

    assert len(asked) == 360
    assert len(taken) <= 10, taken
